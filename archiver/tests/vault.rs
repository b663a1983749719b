//! What every vault promises, and what a directory must do for it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use archiver::vault::{FileVault, Vault, VaultError};
use tempfile::{TempDir, tempdir};
use verifier::store::{ArchiveSource as _, FileSource, SourceError};

const KEY: &str = "hours/date=2026-11-23/hour=16.note";

/// The conformance suite: any empty vault passes it.
fn suite(vault: &dyn Vault) {
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
    vault.remove(tile).unwrap();
    vault.remove(tile).unwrap();
    assert_eq!(vault.get(tile).unwrap(), None);
    assert_eq!(vault.list().unwrap(), [KEY, checkpoint, "log/tile/0/000"]);

    vault.tidy().unwrap();
    assert_eq!(vault.list().unwrap(), [KEY, checkpoint, "log/tile/0/000"]);
}

fn open(directory: &Path) -> FileVault {
    FileVault::open(&format!("file://{}", directory.display())).unwrap()
}

fn fresh() -> (TempDir, FileVault) {
    let directory = tempdir().unwrap();
    let vault = open(&directory.path().join("new/archive"));
    (directory, vault)
}

#[test]
fn a_directory_keeps_the_promises() {
    suite(&fresh().1);
}

#[test]
fn what_an_unfinished_write_leaves_is_no_object_and_is_cleared_away() {
    let (directory, vault) = fresh();
    let left = directory.path().join("new/archive").join(FileSource::STAGING).join("77-0");
    fs::write(&left, b"half").unwrap();
    assert!(vault.list().unwrap().is_empty());
    vault.tidy().unwrap();
    assert!(!left.exists());
}

#[test]
fn no_write_leaves_anything_behind() {
    let (directory, vault) = fresh();
    vault.create(KEY, b"one").unwrap();
    vault.create(KEY, b"two").unwrap_err();
    vault.replace("log/checkpoint", None, b"first").unwrap();
    let staging = directory.path().join("new/archive").join(FileSource::STAGING);
    assert_eq!(fs::read_dir(staging).unwrap().count(), 0);
}

#[test]
fn a_key_never_leads_out_of_the_archive() {
    let (_directory, vault) = fresh();
    for key in ["../x", "/x", "a//b", "a/./b", "a/../../b", "", "a/"] {
        let refused = vault.create(key, b"");
        assert!(matches!(refused, Err(VaultError::Source(SourceError::Key(_)))), "{key}");
        assert!(matches!(vault.get(key), Err(SourceError::Key(_))), "{key}");
    }
}

#[test]
fn a_link_is_never_followed() {
    let (directory, vault) = fresh();
    let (root, outside) = (directory.path().join("new/archive"), directory.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("hour=16.note"), b"elsewhere").unwrap();
    symlink(&outside, root.join("hours")).unwrap();
    symlink(outside.join("hour=16.note"), root.join("note")).unwrap();
    for key in ["hours/hour=16.note", "note"] {
        assert!(matches!(vault.get(key), Err(SourceError::NotAFile(_))), "{key}");
    }
    // Listed as what they are, so that an audit finds them, and not looked into.
    assert_eq!(vault.list().unwrap(), ["hours", "note"]);
}

#[test]
fn an_address_is_a_directory_or_a_file_url() {
    for address in ["s3://bucket/x", "file://host/x", "file:///a%20b", ""] {
        assert!(matches!(FileSource::path(address), Err(SourceError::Address(_))), "{address}");
    }
    assert_eq!(FileSource::path("file:///a/b").unwrap(), Path::new("/a/b"));
    assert!(matches!(FileSource::open("/nowhere/at/all"), Err(SourceError::Absent(_))));
}
