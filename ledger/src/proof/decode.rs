//! Reading a proof: what is read is written as the same bytes again, or it is refused.

use std::fmt::Display;

use crate::hash::Digest;
use crate::key::{PublicKey, Signature};
use crate::limits::{NOTE_BYTES, PAYLOAD_BYTES_CEILING, SUBMISSION_EVENTS_CEILING};
use crate::names::{EventId, Origin, Seq, Workspace};
use crate::note::plain_number;
use crate::submission::Counter;
use crate::time::Micros;

use super::tlog::PATH_MAX;
use super::{KIND, LoggedNote, PROOF_BYTES, Proof, RecordedEvent, TlogProof};

/// Why bytes are not a proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {reason}")]
pub struct Malformed {
    /// Where the wrong line or block starts, from 0.
    pub at: usize,
    /// What is wrong, and what is expected.
    pub reason: String,
}

/// Reads lines and blocks, one after the other.
struct Reader<'a> {
    rest: &'a [u8],
    /// Where `rest` starts, and where the line or block before did.
    at: usize,
    before: usize,
}

impl<'a> Reader<'a> {
    fn fail(&self, reason: impl Into<String>) -> Malformed {
        Malformed { at: self.before, reason: reason.into() }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        self.before = self.at;
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.fail(format!("{count} bytes are expected, the file ends")))?;
        self.rest = rest;
        self.at += count;
        Ok(taken)
    }

    /// The next line, without its end.
    fn text(&mut self) -> Result<&'a str, Malformed> {
        self.before = self.at;
        let length = self.rest.iter().position(|byte| *byte == b'\n');
        let length = length.ok_or_else(|| self.fail("a line is expected, the file ends"))?;
        let line = self.take(length)?;
        let line = std::str::from_utf8(line).map_err(|_| self.fail("the line is not UTF-8"))?;
        let start = self.before;
        self.take(1)?;
        self.before = start;
        Ok(line)
    }

    /// The value of the next line, which has this name.
    fn line<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, Malformed> {
        let line = self.text()?;
        let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
        let value = value.ok_or_else(|| self.fail(format!("`{name} <value>` is expected")))?;
        read(value).map_err(|error| self.fail(format!("`{name}`: {error}")))
    }

    /// A number in plain digits, up to a bound.
    fn number(&mut self, name: &str, max: usize) -> Result<usize, Malformed> {
        self.line(name, |text| {
            plain_number(text)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| *number <= max)
                .ok_or_else(|| format!("a number in plain digits, up to {max}, is expected"))
        })
    }

    /// So many hex digests, a line each.
    fn digests(&mut self, name: &str, count: usize) -> Result<Vec<Digest>, Malformed> {
        (0..count).map(|_| self.line(name, Digest::parse)).collect()
    }

    /// Text behind its length.
    fn block(&mut self, name: &str, max: usize) -> Result<&'a str, Malformed> {
        let length = self.number(name, max)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.fail("the block is not UTF-8"))
    }

    fn note(&mut self) -> Result<(LoggedNote, String), Malformed> {
        let note = self.block("note", NOTE_BYTES)?.to_owned();
        // A path of 64 hashes and a header are far below 4 KiB.
        let tlog = self.block("tlog-proof", NOTE_BYTES + 4_096)?;
        let TlogProof { index, path, checkpoint } = TlogProof::parse(tlog)
            .ok_or_else(|| self.fail("not a tlog-proof of C2SP without extra data"))?;
        Ok((LoggedNote { note, index, path }, checkpoint))
    }

    fn event(&mut self) -> Result<RecordedEvent, Malformed> {
        let seq = self.line("seq", |text| {
            plain_number(text).and_then(Seq::new).ok_or("a number from 1 to 2^63-1 is expected")
        })?;
        let recorded_at = self.line("recorded_at", Micros::parse)?;
        let event_id = self.line("event_id", EventId::parse)?;
        let counter = self.line("counter", |text| {
            Counter::parse(text).ok_or("a number from 0 to 2^63-1 is expected")
        })?;
        let public_key = self.line("public_key", PublicKey::parse)?;
        let signature = self.line("signature", Signature::parse)?;
        let submission_index = self.line("submission_index", |text| {
            let index = plain_number(text).and_then(|index| u16::try_from(index).ok());
            index.ok_or("a number from 0 is expected")
        })?;
        let count = self.number("submission_count", SUBMISSION_EVENTS_CEILING)?;
        let digests = self.digests("payload_digest", count)?;
        if usize::from(submission_index) >= count {
            return Err(self.fail("submission_index is below submission_count"));
        }
        let manifest = self.number("manifest", PROOF_BYTES)?;
        let hashes = self.number("path", PATH_MAX)?;
        let path = self.digests("hash", hashes)?;
        let payload = self.payload()?;
        Ok(RecordedEvent {
            seq,
            recorded_at,
            event_id,
            submission_index,
            counter,
            public_key,
            signature,
            digests,
            manifest,
            path,
            payload,
        })
    }

    fn payload(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let length = self.line("payload", |text| match text {
            "withheld" => Ok(None),
            text => plain_number(text)
                .and_then(|length| usize::try_from(length).ok())
                .filter(|length| *length <= PAYLOAD_BYTES_CEILING)
                .map(Some)
                .ok_or_else(|| format!("`withheld`, or up to {PAYLOAD_BYTES_CEILING} is expected")),
        })?;
        let Some(length) = length else { return Ok(None) };
        let payload = self.take(length)?.to_vec();
        match self.take(1)? {
            b"\n" => Ok(Some(payload)),
            _ => Err(self.fail("a line feed is expected behind the payload")),
        }
    }
}

impl Proof {
    /// Reads the bytes of a file. Memory stays within a few times their length.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut file = Reader { rest: bytes, at: 0, before: 0 };
        if bytes.len() > PROOF_BYTES {
            return Err(file.fail(format!("a proof has at most {PROOF_BYTES} bytes")));
        }
        if file.text()? != KIND {
            return Err(file.fail(format!("`{KIND}` is expected: this is no proof of an event")));
        }
        let origin = file.line("origin", Origin::new)?;
        let workspace = file.line("workspace", Workspace::new)?;
        let notes = file.number("notes", PROOF_BYTES)?;
        let events = file.number("events", PROOF_BYTES)?;
        let mut proof = Self {
            origin,
            workspace,
            checkpoint: String::new(),
            notes: Vec::new(),
            events: Vec::new(),
        };
        for _ in 0..notes {
            let (note, checkpoint) = file.note()?;
            match proof.notes.last() {
                None => proof.checkpoint = checkpoint,
                Some(before) if before.index >= note.index => {
                    return Err(file.fail("notes stand in the order of the log"));
                }
                Some(_) if checkpoint != proof.checkpoint => {
                    return Err(file.fail("every note is under the same checkpoint"));
                }
                Some(_) => {}
            }
            proof.notes.push(note);
        }
        for _ in 0..events {
            let event = file.event()?;
            if proof.events.last().is_some_and(|before| before.seq >= event.seq) {
                return Err(file.fail("events stand in the order of the chain"));
            }
            if event.manifest >= notes {
                return Err(file.fail("`manifest` is the place of a note of this proof, from 0"));
            }
            proof.events.push(event);
        }
        if proof.events.is_empty() || proof.notes.is_empty() {
            return Err(file.fail("a proof holds a note and an event at least"));
        }
        if !file.rest.is_empty() {
            file.before = file.at;
            return Err(file.fail(format!("{} bytes follow the last event", file.rest.len())));
        }
        // Some values could be spelt in two ways, such as an event_id in upper case.
        if proof.to_bytes() != bytes {
            return Err(Malformed { at: 0, reason: "it is not spelt in the one way".to_owned() });
        }
        Ok(proof)
    }
}
