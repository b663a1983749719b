//! The must-reject corpus: archives that cheat, each with what a verifier has to say of it.
//!
//! Here: a case, and all cases as one file (tar, zstd). Not here: the cases themselves, which are the lies
//! of `ledger/tests/audit` with real Parquet objects (see `bin/tally-must-reject.rs`), and what runs a verifier
//! over them (see `tests/must_reject.rs`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use ledger::verify::{Policy, Trust};

use crate::rig::Failure;

/// The level of compression: the file is written rarely.
const LEVEL: i32 = 19;
/// Two to this power is how far back compression looks: over all cases, as they share most of their bytes.
const WINDOW: u32 = 26;
/// Bytes of a tar record.
const RECORD: usize = 512;

/// An archive that cheats.
pub struct Case {
    /// The directory in the corpus.
    pub directory: String,
    /// What was done.
    pub name: String,
    /// Every finding but notices, gravest first: id and place, as `tests/must_reject.rs` writes them.
    pub findings: Vec<String>,
    /// What the verifier exits with.
    pub exit_code: u8,
    /// Arguments of the verifier, besides archive and trust file.
    pub arguments: Vec<String>,
    /// The auditor's trust file.
    pub trust: String,
    /// The archive's objects.
    pub objects: BTreeMap<String, Vec<u8>>,
}

impl Case {
    /// The files of the case, by their paths in the corpus.
    fn files(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let at = |path: &str| format!("{}/{path}", self.directory);
        let quoted = |texts: &[String]| {
            texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
        };
        let case = format!(
            "name = {:?}\nexit_code = {}\narguments = [{}]\nfindings = [{}]\n",
            self.name,
            self.exit_code,
            quoted(&self.arguments),
            quoted(&self.findings),
        );
        let texts = [(at("case.toml"), case), (at("trust.toml"), self.trust.clone())];
        let texts = texts.map(|(path, text)| (path, text.into_bytes()));
        let objects = self
            .objects
            .iter()
            .map(move |(key, bytes)| (format!("{}/archive/{key}", self.directory), bytes.clone()));
        texts.into_iter().chain(objects)
    }
}

/// All cases as the bytes of one tar file: the same cases always come to the same bytes.
pub fn tar(cases: &[Case]) -> Result<Vec<u8>, Failure> {
    let mut tar = Vec::new();
    for case in cases {
        // Of an empty archive there is at least the directory.
        tar.extend_from_slice(&header(&format!("{}/archive/", case.directory), None)?);
        for (path, bytes) in case.files() {
            tar.extend_from_slice(&header(&path, Some(bytes.len()))?);
            tar.extend_from_slice(&bytes);
            tar.resize(tar.len().next_multiple_of(RECORD), 0);
        }
    }
    tar.resize(tar.len() + 2 * RECORD, 0);
    Ok(tar)
}

/// The header of a plain file of so many bytes, or of a directory, as POSIX has it (ustar): no owner, no time.
fn header(path: &str, bytes: Option<usize>) -> Result<Vec<u8>, Failure> {
    let cut = |at: usize| path.split_at_checked(at);
    let (prefix, name) = if path.len() <= 100 {
        ("", path)
    } else {
        let slash = path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| at);
        let fits = |at: &usize| *at <= 155 && path.len() - at - 1 <= 100;
        let (prefix, name) = slash.filter(fits).find_map(cut).ok_or("a path too long for tar")?;
        (prefix, name.trim_start_matches('/'))
    };
    let mut header = Vec::with_capacity(RECORD);
    let mut field = |text: &str, width: usize| {
        header.extend_from_slice(text.as_bytes());
        header.resize(header.len() + width - text.len(), 0);
    };
    field(name, 100);
    field(if bytes.is_some() { "0000644" } else { "0000755" }, 8);
    field("0000000", 8);
    field("0000000", 8);
    field(&format!("{:011o}", bytes.unwrap_or(0)), 12);
    field("00000000000", 12);
    field("        ", 8);
    field(if bytes.is_some() { "0" } else { "5" }, 1);
    field("", 100);
    field("ustar", 6);
    field("00", 2);
    field("", 32 + 32 + 8 + 8);
    field(prefix, 155);
    field("", 12);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    let slot = header.iter_mut().skip(148);
    slot.zip(sum.bytes()).for_each(|(slot, byte)| *slot = byte);
    Ok(header)
}

/// Compresses the corpus.
pub fn compress(tar: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.window_log(WINDOW)?;
    encoder.long_distance_matching(true)?;
    io::Write::write_all(&mut encoder, tar)?;
    encoder.finish()
}

/// The tar file of a compressed corpus.
pub fn decompress(corpus: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::Decoder::new(corpus)?;
    decoder.window_log_max(WINDOW)?;
    let mut tar = Vec::new();
    io::Read::read_to_end(&mut decoder, &mut tar)?;
    Ok(tar)
}

/// Where the corpus lies.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("must-reject/corpus.tar.zst")
}

/// A trust file that says this.
pub fn trust_file(trust: &Trust) -> String {
    let quoted = |texts: Vec<String>| {
        texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
    };
    let keys = trust.seal_keys.iter().map(ToString::to_string).collect();
    let mut text = format!("origin = \"{}\"\nseal_keys = [{}]\n", trust.origin, quoted(keys));
    // Writing to a String cannot fail.
    for (workspace, keys) in &trust.workspaces {
        let keys = quoted(keys.iter().map(ToString::to_string).collect());
        let _ = writeln!(text, "\n[workspaces.\"{workspace}\"]\nroot_keys = [{keys}]");
    }
    for (key, cutoff) in &trust.revoked {
        let (size, root) = (cutoff.size, cutoff.root);
        let _ = writeln!(text, "\n[[revoked]]\nkey = \"{key}\"\nsize = {size}\nroot = \"{root}\"");
    }
    for seen in &trust.seen {
        let _ = writeln!(text, "\n[[seen]]\nsize = {}\nroot = \"{}\"", seen.size, seen.root);
    }
    text
}

/// The verifier's arguments that ask for this.
pub fn arguments(policy: &Policy) -> Vec<String> {
    let mut arguments = vec!["--any-age".to_owned()];
    let mut with = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            arguments.extend([name.to_owned(), value]);
        }
    };
    with("--workspace", policy.workspace.as_ref().map(ToString::to_string));
    with("--expect-through", policy.expect_through.map(|time| time.to_string()));
    with("--since", policy.since.map(|time| time.to_string()));
    with("--until", policy.until.map(|time| time.to_string()));
    let default = Policy::default().min_kept_days;
    let days = Some(policy.min_kept_days).filter(|days| *days != default);
    with("--min-kept-days", days.map(|days| days.to_string()));
    for (name, most) in [("--max-late", policy.max_late), ("--max-ahead", policy.max_ahead)] {
        with(name, most.map(|micros| format!("{}s", micros / 1_000_000)));
    }
    for (name, asked) in [
        ("--allow-erased", policy.allow_erased),
        ("--allow-pruned", policy.allow_pruned),
        ("--expect-locked", policy.expect_locked),
    ] {
        arguments.extend(asked.then(|| name.to_owned()));
    }
    arguments
}
