//! What a directory must do to be a vault.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use archiver::vault::{FileVault, Guarantee, Vault as _};
use tempfile::{TempDir, tempdir};
use verifier::store::{ArchiveSource as _, FileSource, SourceError};

use super::suite::{KEY, race, suite};

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
    let (_directory, vault) = fresh();
    suite(&vault);
    race(&vault);
    assert_eq!(vault.probe(KEY).unwrap().create, Guarantee::Store);
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
    for address in ["file://host/x", "file:///a%20b", ""] {
        assert!(matches!(FileSource::path(address), Err(SourceError::Address(_))), "{address}");
    }
    assert_eq!(FileSource::path("file:///a/b").unwrap(), Path::new("/a/b"));
    assert!(matches!(FileSource::open("/nowhere/at/all"), Err(SourceError::Absent(_))));
}
