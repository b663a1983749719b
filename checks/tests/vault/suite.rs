//! The conformance suite: any empty vault passes it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use archiver::vault::{Removal, Vault, VaultError};
use verifier::store::SourceError;

pub const KEY: &str = "hours/date=2026-11-23/hour=16.note";

/// What every vault promises.
pub fn suite(vault: &dyn Vault) {
    assert_eq!(vault.get(KEY).unwrap(), None);
    assert!(vault.list().unwrap().is_empty());

    vault.create(KEY, b"one").unwrap();
    assert_eq!(vault.get(KEY).unwrap().unwrap(), b"one");
    vault.create(KEY, b"one").unwrap();
    assert!(matches!(vault.create(KEY, b"two"), Err(VaultError::Differs(key)) if key == KEY));
    assert_eq!(vault.get(KEY).unwrap().unwrap(), b"one");

    let checkpoint = "log/checkpoint";
    let moved = vault.replace(checkpoint, Some(b"before"), b"first");
    assert!(matches!(moved, Err(VaultError::Moved(_))));
    vault.replace(checkpoint, None, b"first").unwrap();
    vault.replace(checkpoint, None, b"first").unwrap();
    assert!(matches!(vault.replace(checkpoint, None, b"second"), Err(VaultError::Moved(_))));
    vault.replace(checkpoint, Some(b"first"), b"second").unwrap();
    assert_eq!(vault.get(checkpoint).unwrap().unwrap(), b"second");

    let tile = "log/tile/0/000.p/7";
    vault.create(tile, b"").unwrap();
    vault.create("log/tile/0/000", b"full").unwrap();
    assert_eq!(vault.list().unwrap(), [KEY, checkpoint, "log/tile/0/000", tile]);
    assert_eq!(vault.remove(tile).unwrap(), Removal::Gone);
    assert_eq!(vault.remove(tile).unwrap(), Removal::Gone);
    assert_eq!(vault.get(tile).unwrap(), None);
    assert_eq!(vault.list().unwrap(), [KEY, checkpoint, "log/tile/0/000"]);

    vault.tidy().unwrap();
    let asked = vault.probe(KEY).unwrap();
    assert_eq!(vault.probe(KEY).unwrap(), asked);
    assert_eq!(vault.get(KEY).unwrap().unwrap(), b"one");
    assert_eq!(vault.list().unwrap(), [KEY, checkpoint, "log/tile/0/000"]);

    // Large enough to come in many pieces.
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    vault.create("events/large", &large).unwrap();
    assert!(vault.get("events/large").unwrap().unwrap() == large);
    let mut other = large.clone();
    *other.last_mut().unwrap() ^= 1;
    assert!(matches!(vault.create("events/large", &other), Err(VaultError::Differs(_))));
    vault.remove("events/large").unwrap();

    for key in ["../x", "/x", "a//b", "a/./b", "a/../../b", "", "a/"] {
        let refused = vault.create(key, b"");
        assert!(matches!(refused, Err(VaultError::Source(SourceError::Key(_)))), "{key}");
        assert!(matches!(vault.get(key), Err(SourceError::Key(_))), "{key}");
    }
}

/// Of several writers of one key at the same moment, one writes, and the others are told. Only for
/// vaults whose store decides that at once.
pub fn race(vault: &dyn Vault) {
    for round in 0..50 {
        let (key, written) = (format!("hours/race-{round}"), AtomicUsize::new(0));
        thread::scope(|scope| {
            for writer in 0..4 {
                let (key, written) = (&key, &written);
                scope.spawn(move || match vault.create(key, &[writer]) {
                    Ok(()) => {
                        written.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(vault.get(key).unwrap().unwrap(), [writer]);
                    }
                    Err(error) => assert!(matches!(error, VaultError::Differs(_)), "{error}"),
                });
            }
        });
        assert_eq!(written.load(Ordering::Relaxed), 1, "{key}");
    }
}
