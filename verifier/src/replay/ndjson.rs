//! Entries and payloads as lines of JSON.

use std::borrow::Cow;
use std::io::{self, Write};

use ledger::columns::Row;
use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature};
use ledger::names::{EventId, Workspace};
use ledger::time::Micros;

/// Writes an entry as one line: what was recorded, with the payload as it was signed but for its line ends (see
/// [`payload`]). Derived columns are left out: the payload says the same.
pub(super) fn entry(out: &mut impl Write, workspace: &Workspace, row: &Row<'_>) -> io::Result<()> {
    // Rows that were verified have a time, an id and a key; names need no escape.
    let wrong = |what: &str| io::Error::other(format!("an entry has no {what}"));
    let recorded_at = Micros::new(row.recorded_at).ok_or_else(|| wrong("time"))?;
    let event_id = EventId::from_bytes(row.event_id).map_err(|_| wrong("event_id"))?;
    let key = PublicKey::from_bytes(&row.public_key).map_err(|_| wrong("public key"))?;
    let [digest, link, submission] = [row.payload_digest, row.link, row.submission_hash];
    let hash = Digest::from_bytes;
    write!(
        out,
        r#"{{"workspace":"{workspace}","seq":{},"recorded_at":"{recorded_at}","event_id":"{event_id}","#,
        row.seq
    )?;
    write!(
        out,
        r#""payload_digest":"{}","link":"{}","submission_hash":"{}","submission_index":{},"#,
        hash(digest),
        hash(link),
        hash(submission),
        row.submission_index
    )?;
    write!(
        out,
        r#""submission_count":{},"counter":{},"public_key":"{key}","signature":"{}","payload":"#,
        row.submission_count,
        row.counter,
        Signature::from_bytes(row.signature)
    )?;
    match row.payload {
        Some(payload) => out.write_all(&one_line(payload))?,
        None => out.write_all(b"null")?,
    }
    out.write_all(b"}\n")
}

/// Writes a payload as one line; nothing where it is withheld. A line end within it can only stand between two
/// tokens of the JSON, and becomes a space: such a payload says the same, and has another digest.
pub(super) fn payload(out: &mut impl Write, row: &Row<'_>) -> io::Result<()> {
    match row.payload {
        None => Ok(()),
        Some(payload) => {
            out.write_all(&one_line(payload))?;
            out.write_all(b"\n")
        }
    }
}

fn one_line(payload: &[u8]) -> Cow<'_, [u8]> {
    if payload.iter().all(|byte| !matches!(byte, b'\n' | b'\r')) {
        return Cow::Borrowed(payload);
    }
    let plain = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    Cow::Owned(payload.iter().map(plain).collect())
}
