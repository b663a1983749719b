//! The auditor's trust file: which ledger, which keys (TOML).
//!
//! ```toml
//! origin = "ledger.example.com/prod"
//! seal_keys = ["ledger.example.com/prod+90c48343+AUj4…"]
//! receipt_keys = ["ledger.example.com/prod/receipt+20330a3b+AXw5…"]
//!
//! [[seen]]                        # the log as it was last time: what `checkpoint` of a report says
//! size = 98
//! root = "1f3c7e0b…"
//!
//! [workspaces.acme]
//! root_keys = ["ed25519:TrKU8p1r87qTOeRilxbYzmxchS2IFLrr5P3r8AEdPYU"]
//!
//! [[revoked]]                     # a stolen seal key: believed in the first leaves of this log only
//! key = "ledger.example.com/prod+5f1c8e02+AZk2…"
//! size = 120
//! root = "6a91fab8405fed7f0c92709363a196a966774029cce1830621ed4e5ef32f8713"
//! ```

use std::collections::BTreeMap;

use ledger::checkpoint::Checkpoint;
use ledger::hash::Digest;
use ledger::key::PublicKey;
use ledger::names::{Origin, Workspace};
use ledger::note::{Note, VerifierKey};
use ledger::succession::Cutoff;
use ledger::verify::Trust;
use serde::Deserialize;

/// Why a trust file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Not TOML, or a member that is missing or unknown.
    #[error("the trust file is not of its form: {0}")]
    Form(#[from] toml::de::Error),
    /// A value that is not what it should be.
    #[error("`{member}` in the trust file: {reason}")]
    Value {
        /// Where in the file.
        member: String,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint that was kept is not one of this ledger.
    #[error("it is no checkpoint to go on from: {reason}")]
    Checkpoint {
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    origin: String,
    seal_keys: Vec<String>,
    #[serde(default)]
    receipt_keys: Vec<String>,
    #[serde(default)]
    seen: Vec<Seen>,
    #[serde(default)]
    revoked: Vec<Revoked>,
    #[serde(default)]
    workspaces: BTreeMap<String, Pins>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    size: u64,
    root: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    key: String,
    size: u64,
    root: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    root_keys: Vec<String>,
}

fn value<T, E: ToString>(member: &str, read: Result<T, E>) -> Result<T, TrustError> {
    read.map_err(|error| TrustError::Value { member: member.to_owned(), reason: error.to_string() })
}

/// Reads a trust file.
pub fn parse(text: &str) -> Result<Trust, TrustError> {
    let file: File = toml::from_str(text)?;
    let origin = value("origin", Origin::new(&file.origin))?;
    let mut workspaces = BTreeMap::new();
    for (name, pins) in &file.workspaces {
        let member = format!("workspaces.{name}");
        let workspace = value(&member, Workspace::new(name))?;
        let member = format!("{member}.root_keys");
        let keys = pins.root_keys.iter().map(|key| value(&member, PublicKey::parse(key)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return value(&member, Err("name at least one key, or leave the workspace out"));
        }
        workspaces.insert(workspace, keys);
    }
    let seal_keys = named_keys("seal_keys", &file.seal_keys, origin.as_str())?;
    if seal_keys.is_empty() {
        return value("seal_keys", Err("name at least one key: all proofs hang on it"));
    }
    let receipt_name = format!("{origin}/receipt");
    let receipt_keys = named_keys("receipt_keys", &file.receipt_keys, &receipt_name)?;
    let revoked = file.revoked.iter().map(|entry| revoked(entry, origin.as_str()));
    let revoked: Vec<_> = revoked.collect::<Result<_, _>>()?;
    let seen = file.seen.iter().map(|entry| cutoff("seen", entry.size, &entry.root));
    let seen = seen.collect::<Result<_, TrustError>>()?;
    Ok(Trust { origin, seal_keys, revoked, seen, receipt_keys, workspaces })
}

/// Takes a checkpoint that the auditor has kept, such as a copy of `log/checkpoint` of last time. It
/// has to be of this ledger and signed by a key of the trust file, so that a wrong file is not
/// mistaken for one; what counts is that the auditor has kept it.
pub fn add_seen(trust: &mut Trust, checkpoint: &[u8]) -> Result<(), TrustError> {
    let refused = |reason: String| TrustError::Checkpoint { reason };
    let note = Note::parse(checkpoint).map_err(|error| refused(error.to_string()))?;
    let read = Checkpoint::parse(note.body()).map_err(|error| refused(error.to_string()))?;
    if read.origin != trust.origin {
        return Err(refused(format!("it is of the ledger {}", read.origin)));
    }
    let known = trust.seal_keys.iter().chain(trust.revoked.iter().map(|(key, _)| key));
    if !{ known }.any(|key| note.verify(key).is_ok()) {
        return Err(refused("no seal key of the trust file has signed it".to_owned()));
    }
    let seen = Cutoff { size: read.size, root: read.root };
    if !can_be(&seen) {
        return Err(refused(NO_SUCH_ROOT.to_owned()));
    }
    trust.seen.push(seen);
    Ok(())
}

/// Why a log without leaves is not taken for one that was seen.
const NO_SUCH_ROOT: &str =
    "a log of size 0 has no such root: it is that of nothing (SHA-256 of no bytes)";

/// Every log begins with no leaves at all: a root of them that is another one would never be compared.
fn can_be(cutoff: &Cutoff) -> bool {
    cutoff.size > 0 || cutoff.root == Digest::of(b"")
}

/// The first leaves of the log, as the auditor knows them.
fn cutoff(member: &str, size: u64, root: &str) -> Result<Cutoff, TrustError> {
    let cutoff = Cutoff { size, root: value(&format!("{member}.root"), Digest::parse(root))? };
    if can_be(&cutoff) { Ok(cutoff) } else { value(&format!("{member}.size"), Err(NO_SUCH_ROOT)) }
}

/// A stolen seal key, and up to where it is believed.
fn revoked(entry: &Revoked, name: &str) -> Result<(VerifierKey, Cutoff), TrustError> {
    let keys = named_keys("revoked.key", std::slice::from_ref(&entry.key), name)?;
    let cutoff = cutoff("revoked", entry.size, &entry.root)?;
    let key = keys.into_iter().next().ok_or("one key is expected");
    Ok((value("revoked.key", key)?, cutoff))
}

/// Keys of this list, each under the name that such keys have.
fn named_keys(list: &str, texts: &[String], name: &str) -> Result<Vec<VerifierKey>, TrustError> {
    let mut keys = Vec::with_capacity(texts.len());
    for text in texts {
        let key: VerifierKey = value(list, text.parse())?;
        if key.name() != name {
            let found = key.name();
            return value(list, Err(format!("a key named `{name}` is expected, not `{found}`")));
        }
        keys.push(key);
    }
    Ok(keys)
}
