//! Content-Digest, limits for each caller, settings of the edge.

use std::num::NonZeroU32;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ingest::http::digest::{ContentDigest, DigestError};
use ingest::http::door::{DoorError, DoorSettings};
use ingest::http::limits::LimitSettings;
use ingest::http::rate::{Caller, Rate};
use ingest::http::tls::{TlsError, TlsSettings};
use sha2::{Digest as _, Sha256, Sha512};

const CONTENT: &[u8] = b"{\"hello\": \"world\"}";

fn read(values: &[&str]) -> Result<ContentDigest, DigestError> {
    ContentDigest::read(values.iter().map(|value| value.as_bytes()))
}

#[test]
fn a_digest_is_checked_by_every_algorithm_that_is_known() {
    // The example of RFC 9530, appendix B.
    let digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    assert_eq!(read(&[digest]).unwrap().check(CONTENT), Ok(()));
    let sha256 = STANDARD.encode(Sha256::digest(CONTENT));
    let sha512 = STANDARD.encode(Sha512::digest(CONTENT));
    let bare = STANDARD_NO_PAD.encode(Sha256::digest(CONTENT));
    for right in [
        format!("sha-256=:{sha256}:"),
        format!("sha-512=:{sha512}:"),
        format!("sha-512=:{sha512}:,\tsha-256=:{sha256}:"),
        format!("sha-256=:{bare}:"),
        format!("sha-256=:{sha256}:;level=1, unixsum=:AAAA:"),
    ] {
        let digest = read(&[&right]).unwrap();
        assert_eq!(digest.check(CONTENT), Ok(()), "{right}");
        assert!(!digest.is_empty());
        assert!(matches!(digest.check(b"{}"), Err(DigestError::Mismatch(_))), "{right}");
    }
    // One of the two is enough to be wrong.
    let two =
        read(&[&format!("sha-256=:{sha256}:"), &format!("sha-512=:{}:", STANDARD.encode([0; 64]))]);
    assert_eq!(two.unwrap().check(CONTENT), Err(DigestError::Mismatch("sha-512")));
    assert!(read(&["md5=:AAAA:"]).unwrap().is_empty());
    assert!(read(&[]).unwrap().is_empty());
}

#[test]
fn a_digest_that_cannot_be_read_is_not_passed_over() {
    for wrong in ["", "sha-256", "sha-256=X48E", "sha-256=:X48E", "sha-256=:?:", "sha-256=::,"] {
        let error = read(&[wrong]).unwrap_err();
        assert!(matches!(error, DigestError::Form | DigestError::Length(_)), "{wrong}");
    }
    assert_eq!(read(&["sha-256=:AAAA:"]), Err(DigestError::Length("sha-256")));
}

#[test]
fn each_caller_has_a_limit_of_their_own() {
    let nonzero = |n| NonZeroU32::new(n).unwrap();
    let rate = Rate::new(Some((nonzero(1), nonzero(100))));
    let [one, other] = [Caller::Key([1; 32]), Caller::Secret("pipeline".into())];
    assert!(rate.ask(&one, 60).is_ok());
    let wait = rate.ask(&one, 60).unwrap_err().wait.as_secs();
    assert!((10..=20).contains(&wait), "{wait}");
    assert!(rate.ask(&one, 40).is_ok());
    assert!(rate.ask(&other, 100).is_ok());
    // More than a burst is a burst: it would never be let in otherwise.
    assert!(rate.ask(&Caller::Key([2; 32]), 1_000).is_ok());
    assert!(rate.ask(&Caller::Key([2; 32]), 1).is_err());
    let free = Rate::new(None);
    assert!((0..1_000).all(|_| free.ask(&one, 1_000).is_ok()));
}

#[test]
fn a_flood_of_keys_is_forgotten() {
    let nonzero = |n| NonZeroU32::new(n).unwrap();
    let rate = Rate::new(Some((nonzero(1_000_000), nonzero(1_000_000))));
    for n in 0..50_000_u32 {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        rate.ask(&Caller::Key(key), 1).unwrap();
    }
    assert!(rate.callers() < 20_000, "{}", rate.callers());
}

#[test]
fn settings_of_the_edge_are_checked_before_anything_starts() {
    let here = "127.0.0.1:8080".parse().unwrap();
    let anywhere = "0.0.0.0:8080".parse().unwrap();
    let plain = DoorSettings::default();
    assert!(plain.clone().into_config(here, 100).is_ok());
    let error = plain.clone().into_config(anywhere, 100).unwrap_err();
    assert!(matches!(error, DoorError::PlainHttp(address) if address == anywhere));
    let proxied = DoorSettings { allow_plain_http: Some(true), ..plain.clone() };
    assert!(proxied.into_config(anywhere, 100).is_ok());
    let file = Some(PathBuf::from("key.pem"));
    let tls = TlsSettings { certificate: file.clone(), key: file.clone() };
    let secure = DoorSettings { tls, ..plain.clone() };
    assert!(secure.into_config(anywhere, 100).unwrap().tls.is_some());
    let tls = TlsSettings { certificate: None, key: file };
    let error = DoorSettings { tls, ..plain.clone() }.into_config(here, 100).unwrap_err();
    assert!(matches!(error, DoorError::Tls(TlsError::Half)));

    let wrong = [
        ("burst", LimitSettings { burst: Some(100), ..LimitSettings::default() }),
        (
            "burst",
            LimitSettings {
                events_per_second: Some(10),
                burst: Some(99),
                ..LimitSettings::default()
            },
        ),
        (
            "events_per_second",
            LimitSettings { events_per_second: Some(0), ..LimitSettings::default() },
        ),
        ("max_connections", LimitSettings { max_connections: Some(0), ..LimitSettings::default() }),
        (
            "max_head_bytes",
            LimitSettings { max_head_bytes: Some(8_191), ..LimitSettings::default() },
        ),
        ("body_seconds", LimitSettings { body_seconds: Some(0), ..LimitSettings::default() }),
    ];
    for (key, limits) in wrong {
        let error = DoorSettings { limits, ..plain.clone() }.into_config(here, 100).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}
