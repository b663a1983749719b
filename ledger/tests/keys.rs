//! Keys and signatures, as bytes and as text (FORMAT section 1).
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ledger::key::{KeyError, PublicKey, Signature, SignatureError, SigningKey};

/// l, the order of the group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn key(seed: u8) -> PublicKey {
    signing(seed).public()
}

/// The signature with S + l for S: the same equation holds, in another encoding.
fn with_s_plus_l(signature: &Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    let mut carry = 0;
    for (byte, order) in bytes.iter_mut().skip(32).zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes().into_iter().next().unwrap();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    Signature::from_bytes(bytes)
}

/// The signature with other bytes for R.
fn with_r(signature: &Signature, r: [u8; 32]) -> Signature {
    let mut bytes = *signature.as_bytes();
    bytes.iter_mut().zip(r).for_each(|(slot, byte)| *slot = byte);
    Signature::from_bytes(bytes)
}

#[test]
fn signatures_are_checked_by_the_strict_rules() {
    let (key, message) = (signing(1), b"a statement");
    let good = key.sign(message);
    assert_eq!(key.public().verify(message, &good), Ok(()));
    let mut neutral = [0; 32];
    neutral.iter_mut().take(1).for_each(|byte| *byte = 1);
    let refused = [
        ("S + l", with_s_plus_l(&good)),
        ("R is the neutral point", with_r(&good, neutral)),
        ("R has order 4", with_r(&good, [0; 32])),
        ("R is not canonical", with_r(&good, [0xff; 32])),
        ("all zero", Signature::from_bytes([0; 64])),
        ("R and S of another message", key.sign(b"another")),
        ("by another key", signing(2).sign(message)),
    ];
    for (why, signature) in refused {
        let error = key.public().verify(message, &signature).unwrap_err();
        assert_eq!(error.code(), "signature-invalid", "{why}");
    }
    // Under a key of small order this signature would hold for every message; it is no key.
    assert_eq!(PublicKey::from_bytes(&neutral), Err(KeyError::SmallOrder));
}

#[test]
fn a_key_that_is_no_point_is_refused() {
    let mut bytes = *key(1).as_bytes();
    // Half of all y have no x: the first few neighbours of any key hold one.
    let refused = (0..=255).find_map(|low| {
        bytes.iter_mut().take(1).for_each(|byte| *byte = low);
        PublicKey::from_bytes(&bytes).err()
    });
    assert_eq!(refused.unwrap().code(), "key-not-a-point");
    for length in [0, 1, 31, 33, 64] {
        let error = PublicKey::from_bytes(&vec![1; length]).unwrap_err();
        assert_eq!((error, error.code()), (KeyError::Length(length), "key-length"));
    }
}

#[test]
fn a_key_has_one_text() {
    let key = key(1);
    let text = key.to_string();
    assert_eq!(PublicKey::parse(&text), Ok(key));
    let bytes = key.as_bytes();
    let encoded = URL_SAFE_NO_PAD.encode(bytes);
    // The last character carries four bits: with another two below, the bytes would be the same.
    let mut other_bits = text.clone();
    let last = other_bits.pop().unwrap();
    let bumped = char::from(u8::try_from(last).unwrap() + 1);
    other_bits.push(bumped);
    for (bad, code) in [
        (String::new(), "key-text"),
        (encoded.clone(), "key-text"),
        (format!("ED25519:{encoded}"), "key-text"),
        (format!("ed25519: {encoded}"), "key-text"),
        (format!("ed25519:{encoded}\n"), "key-text"),
        (format!("ed25519:{}", URL_SAFE.encode(bytes)), "key-text"),
        (format!("ed25519:{}", STANDARD.encode(bytes)), "key-text"),
        (other_bits, "key-text"),
        (format!("ed25519:{}", URL_SAFE_NO_PAD.encode([1; 31])), "key-length"),
        (format!("ed25519:{}", URL_SAFE_NO_PAD.encode([1; 33])), "key-length"),
        ("ed25519:".to_owned(), "key-length"),
        (format!("ed25519:{}", URL_SAFE_NO_PAD.encode([0; 32])), "key-small-order"),
        (format!("ed25519:{}", URL_SAFE_NO_PAD.encode([0xff; 32])), "key-not-canonical"),
    ] {
        assert_eq!(PublicKey::parse(&bad).unwrap_err().code(), code, "{bad:?}");
    }
}

#[test]
fn a_signature_has_one_text() {
    let signature = signing(1).sign(b"a statement");
    let text = signature.to_string();
    assert_eq!(Signature::parse(&text), Ok(signature));
    for bad in [
        String::new(),
        STANDARD_NO_PAD.encode(signature.as_bytes()),
        URL_SAFE.encode([0xff; 64]),
        URL_SAFE_NO_PAD.encode(signature.as_bytes()),
        STANDARD.encode([1; 63]),
        STANDARD.encode([1; 65]),
        format!("{text}\n"),
        format!(" {text}"),
        format!("{text}="),
    ] {
        let error = Signature::parse(&bad).unwrap_err();
        assert_eq!((error, error.code()), (SignatureError::Text, "signature-text"), "{bad:?}");
    }
}

#[test]
fn a_private_key_comes_back_from_pem_and_is_never_shown() {
    let key = signing(7);
    let pem = key.to_pem().unwrap();
    assert_eq!(SigningKey::from_pem(&pem).unwrap().public(), key.public());
    assert_eq!(format!("{key:?}"), format!("SigningKey(of {})", key.public()));
    for bad in ["", "ed25519", &pem.replace("PRIVATE", "PUBLIC"), &pem.replace('M', "")] {
        assert_eq!(SigningKey::from_pem(bad).unwrap_err(), KeyError::Pem);
    }
}
