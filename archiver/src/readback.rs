//! The second pass: a chunk's object as the store gave it back, before its manifest is signed.
//!
//! The rows were checked as an auditor checks them while the chunk was made (see [`crate::chunk`]), and a
//! digest over them was taken before they went to the encoder. Here the object's digests are made again from
//! what was read back, every row is decoded from it, payload digest, leaf, link and root are made again
//! from the decoded bytes, and every other column must come to the digest of the rows that were checked.
//! What the second pass leaves out is what decoded bytes that are the checked ones cannot answer in another way:
//! the rules of JSON, and signatures. Pure.

use bytes::Bytes;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{Row, RowsDigest};
use ledger::entry::{Entry, next_link};
use ledger::hash::Digest;
use ledger::merkle::Frontier;
use ledger::names::{EventId, Seq};
use ledger::time::Micros;
use ledger::verify::{Check, Finding, Place};
use verifier::audit::unreadable;
use verifier::rows::ChunkRows;

/// What is wrong with an object that was read back; `None` where it is the one that its manifest speaks of, and
/// decodes to the rows that were checked.
pub fn check(manifest: &ChunkManifest, object: Bytes, rows: Digest) -> Option<Finding> {
    if ObjectDigest::of(&object) != manifest.digest {
        return Some(Finding::new(Check::ObjectDigest, Place::chunk(manifest)));
    }
    let mut pass = Pass::new(manifest);
    let ChunkManifest { origin, workspace, .. } = manifest;
    let decoded = ChunkRows::open(object, origin, workspace, manifest.rows());
    let decoded = match decoded {
        Ok(decoded) => decoded,
        Err(error) => return Some(unreadable(manifest, &error)),
    };
    for batch in decoded {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => return Some(unreadable(manifest, &error)),
        };
        if let Err(finding) = batch.rows().try_for_each(|row| pass.row(&row)) {
            return Some(*finding);
        }
    }
    pass.end(rows).err().map(|finding| *finding)
}

/// The rows so far, as they were decoded.
struct Pass<'m> {
    manifest: &'m ChunkManifest,
    next_seq: Option<Seq>,
    last_at: Micros,
    link: Digest,
    leaves: Frontier,
    rows: RowsDigest,
}

impl<'m> Pass<'m> {
    fn new(manifest: &'m ChunkManifest) -> Self {
        Self {
            manifest,
            next_seq: Some(manifest.first_seq),
            last_at: manifest.first_recorded_at,
            link: manifest.prev_link,
            leaves: Frontier::new(),
            rows: RowsDigest::new(),
        }
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), Box<Finding>> {
        let wrong = |check, column| {
            let place = Place::chunk(self.manifest).at_seq(row.seq).in_column(column);
            Box::new(Finding::new(check, place))
        };
        let seq = self.next_seq.filter(|seq| seq.get() == row.seq);
        let seq = seq.ok_or_else(|| wrong(Check::RowSeq, "seq"))?;
        let recorded_at = Micros::new(row.recorded_at)
            .filter(|at| *at >= self.last_at && self.manifest.hour.contains(*at))
            .filter(|at| seq != self.manifest.first_seq || *at == self.last_at)
            .ok_or_else(|| wrong(Check::RowTime, "recorded_at"))?;
        let event_id =
            EventId::from_bytes(row.event_id).map_err(|_| wrong(Check::EventId, "event_id"))?;
        let payload_digest = Digest::from_bytes(row.payload_digest);
        if row.payload.is_some_and(|payload| Digest::of(payload) != payload_digest) {
            return Err(wrong(Check::PayloadDigest, "payload"));
        }
        let leaf = Entry {
            seq,
            recorded_at,
            event_id,
            payload_digest,
            submission_hash: Digest::from_bytes(row.submission_hash),
            index_in_submission: row.submission_index,
            submission_count: row.submission_count,
        }
        .leaf();
        let link = next_link(&self.link, &leaf);
        if link != Digest::from_bytes(row.link) {
            return Err(wrong(Check::RowLink, "link"));
        }
        self.leaves.push(leaf);
        self.rows.push(row);
        (self.link, self.last_at, self.next_seq) = (link, recorded_at, seq.next());
        Ok(())
    }

    /// What the rows come to together.
    fn end(self, rows: Digest) -> Result<(), Box<Finding>> {
        let wrong = |check| Box::new(Finding::new(check, Place::chunk(self.manifest)));
        if self.leaves.size() != self.manifest.rows() {
            return Err(wrong(Check::RowCount));
        }
        if self.last_at != self.manifest.last_recorded_at {
            return Err(wrong(Check::RowTime));
        }
        if self.link != self.manifest.last_link {
            return Err(wrong(Check::ChunkLink));
        }
        if self.leaves.root() != self.manifest.root {
            return Err(wrong(Check::ChunkRoot));
        }
        if self.rows.finish() != rows {
            let finding = Finding::new(Check::DerivedColumn, Place::chunk(self.manifest));
            return Err(Box::new(finding.because("the rows are not those that were checked")));
        }
        Ok(())
    }
}
