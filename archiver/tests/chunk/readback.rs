//! What the second pass sees: whatever the encoder or the memory made of rows that were checked.
//!
//! Each object here is written by the real writer and named by its own digests, so that nothing but its rows
//! can give it away.

use archiver::chunk::Chunk;
use archiver::readback::check;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::Row;
use ledger::entry::{Entry, next_link};
use ledger::hash::Digest;
use ledger::layout::{Artefact, Range};
use ledger::names::{EventId, Seq};
use ledger::time::Micros;
use ledger::verify::{Check, Finding};
use std::borrow::Cow;
use verifier::audit::check_chunk;
use verifier::rows::{ChunkRows, ChunkWriter};

use super::chain::{chain, hour, make, origin, workspace};

fn chunk() -> Chunk {
    make(&chain(&[1, 3, 2], hour().start().get())).unwrap().unwrap()
}

fn manifest(chunk: &Chunk, object: &[u8]) -> ChunkManifest {
    let Chunk { first_seq, last_seq, .. } = *chunk;
    let range = Range { workspace: workspace(), hour: hour(), first_seq, last_seq };
    ChunkManifest {
        origin: origin(),
        workspace: workspace(),
        hour: hour(),
        part: 0,
        first_seq,
        last_seq,
        prev_link: chunk.prev_link,
        last_link: chunk.last_link,
        root: chunk.root,
        first_recorded_at: chunk.first_recorded_at,
        last_recorded_at: chunk.last_recorded_at,
        prev_manifest: Digest::ZERO,
        amends: Digest::ZERO,
        object: Artefact::Events { range, erasure: 0 }.to_string(),
        digest: ObjectDigest::of(object),
    }
}

/// The object again, each row as `alter` writes it.
fn rewritten(chunk: &Chunk, mut alter: impl FnMut(Row<'_>, &mut ChunkWriter)) -> Vec<u8> {
    let rows = chunk.last_seq.get();
    let mut writer = ChunkWriter::new(&origin(), &workspace()).unwrap();
    for batch in ChunkRows::open(chunk.object.clone(), &origin(), &workspace(), rows).unwrap() {
        batch.unwrap().rows().for_each(|row| alter(row, &mut writer));
    }
    writer.finish().unwrap()
}

fn seen(chunk: &Chunk, object: Vec<u8>) -> Option<Finding> {
    check(&manifest(chunk, &object), object.into(), chunk.rows)
}

#[test]
fn what_was_checked_is_what_is_read_back() {
    let chunk = chunk();
    assert_eq!(seen(&chunk, chunk.object.clone()), None);
    // The same rows by another run are the same rows: what is altered below is what is seen.
    assert_eq!(rewritten(&chunk, |row, to| to.push(&row).unwrap()), chunk.object);
}

/// What is seen of a change to the row at seq 4.
fn altered(alter: impl for<'a> Fn(&mut Row<'a>)) -> Check {
    let chunk = chunk();
    let object = rewritten(&chunk, |mut row, to| {
        if row.seq == 4 {
            alter(&mut row);
        }
        to.push(&row).unwrap();
    });
    assert_ne!(object, chunk.object);
    seen(&chunk, object).unwrap().check
}

#[test]
fn a_change_in_any_column_is_seen() {
    assert_eq!(altered(|row| row.seq += 1), Check::RowSeq);
    assert_eq!(altered(|row| row.recorded_at -= 1), Check::RowTime);
    assert_eq!(altered(|row| row.recorded_at += 1), Check::RowLink);
    assert_eq!(altered(|row| row.event_id[3] ^= 1), Check::RowLink);
    assert_eq!(altered(|row| row.event_id = [0; 16]), Check::EventId);
    assert_eq!(altered(|row| row.payload = Some(b"{}")), Check::PayloadDigest);
    assert_eq!(altered(|row| row.payload = None), Check::DerivedColumn);
    assert_eq!(altered(|row| row.payload_digest[31] ^= 1), Check::PayloadDigest);
    assert_eq!(altered(|row| row.link[0] ^= 1), Check::RowLink);
    assert_eq!(altered(|row| row.submission_hash[0] ^= 1), Check::RowLink);
    assert_eq!(altered(|row| row.submission_index += 1), Check::RowLink);
    assert_eq!(altered(|row| row.submission_count += 1), Check::RowLink);
    // No leaf, link or payload speaks of these: that they are what was checked, the digest over the rows says.
    assert_eq!(altered(|row| row.counter += 1), Check::DerivedColumn);
    assert_eq!(altered(|row| row.public_key[0] ^= 1), Check::DerivedColumn);
    assert_eq!(altered(|row| row.signature[63] ^= 1), Check::DerivedColumn);
    macro_rules! derived {
        ($($column:ident = $value:expr;)*) => {$(
            let check = altered(|row| row.derived.$column = $value);
            assert_eq!(check, Check::DerivedColumn, stringify!($column));
        )*};
    }
    derived! {
        event_type = Cow::Borrowed("other");
        occurred_at = 1;
        session_id = Some(Cow::Borrowed(""));
        actor_id = Some(Cow::Borrowed(""));
        source = Some(Cow::Borrowed(""));
        model = Some(Cow::Borrowed(""));
        provider = Some(Cow::Borrowed(""));
        input_tokens = Some(0);
        output_tokens = Some(0);
        latency_ms = Some(0);
        success = Some(false);
        error_type = Some(Cow::Borrowed(""));
        prompt_hash = Some(Cow::Borrowed(""));
        tool_name = Some(Cow::Borrowed(""));
        status = Some(Cow::Borrowed(""));
        unit_cost_input = Some(0);
        unit_cost_output = Some(0);
        trace_id = Some(Cow::Borrowed(""));
        span_id = Some(Cow::Borrowed(""));
        agent_version = Some(Cow::Borrowed(""));
        on_behalf_of = Some(Cow::Borrowed(""));
        parent_event_id = Some([0; 16]);
    }
}

#[test]
fn an_encoder_that_takes_one_column_for_another_is_seen() {
    let chunk = chunk();
    let swapped = rewritten(&chunk, |mut row, to| {
        row.derived.model = row.derived.session_id.take().or(Some(Cow::Borrowed("m")));
        to.push(&row).unwrap();
    });
    assert_eq!(seen(&chunk, swapped).unwrap().check, Check::DerivedColumn);
}

#[test]
fn a_row_that_is_lost_or_doubled_is_seen() {
    let chunk = chunk();
    let lost = rewritten(&chunk, |row, to| {
        if row.seq != 4 {
            to.push(&row).unwrap();
        }
    });
    assert_eq!(seen(&chunk, lost).unwrap().check, Check::RowCount);
    // As many rows as there should be: the last one a second time, instead of the one before.
    let doubled = rewritten(&chunk, |mut row, to| {
        row.seq = if row.seq == 5 { 6 } else { row.seq };
        to.push(&row).unwrap();
    });
    assert_eq!(seen(&chunk, doubled).unwrap().check, Check::RowSeq);
}

/// A chain of the same length that holds together in itself, over another payload: only what was made of the
/// checked rows can tell.
#[test]
fn another_chain_that_is_whole_is_seen() {
    let chunk = chunk();
    let mut link = chunk.prev_link;
    let object = rewritten(&chunk, |mut row, to| {
        let other = String::from_utf8(row.payload.unwrap().to_vec()).unwrap();
        let other = other.replace("note", "fake");
        row.payload_digest = *Digest::of(other.as_bytes()).as_bytes();
        let entry = Entry {
            seq: Seq::new(row.seq).unwrap(),
            recorded_at: Micros::new(row.recorded_at).unwrap(),
            event_id: EventId::from_bytes(row.event_id).unwrap(),
            payload_digest: Digest::from_bytes(row.payload_digest),
            submission_hash: Digest::from_bytes(row.submission_hash),
            index_in_submission: row.submission_index,
            submission_count: row.submission_count,
        };
        link = next_link(&link, &entry.leaf());
        row.link = *link.as_bytes();
        to.push(&Row { payload: Some(other.as_bytes()), ..row }).unwrap();
    });
    assert_eq!(seen(&chunk, object.clone()).unwrap().check, Check::ChunkLink);
    let mut told = manifest(&chunk, &object);
    told.last_link = link;
    assert_eq!(check(&told, object.into(), chunk.rows).unwrap().check, Check::ChunkRoot);
}

/// A bit may flip in the manifest as well.
#[test]
fn a_manifest_that_says_anything_else_of_its_rows_is_seen() {
    let chunk = chunk();
    let told = |alter: fn(&mut ChunkManifest)| {
        let mut manifest = manifest(&chunk, &chunk.object);
        alter(&mut manifest);
        check(&manifest, chunk.object.clone().into(), chunk.rows).unwrap().check
    };
    let later = |at: Micros| at.checked_add(1).unwrap();
    assert_eq!(told(|m| m.digest.sha256 = Digest::ZERO), Check::ObjectDigest);
    assert_eq!(told(|m| m.digest.blake3 = Digest::ZERO), Check::ObjectDigest);
    assert_eq!(told(|m| m.digest.bytes += 1), Check::ObjectDigest);
    assert_eq!(told(|m| m.root = Digest::ZERO), Check::ChunkRoot);
    assert_eq!(told(|m| m.last_link = Digest::ZERO), Check::ChunkLink);
    assert_eq!(told(|m| m.prev_link = Digest::ZERO), Check::RowLink);
    assert_eq!(told(|m| m.last_seq = m.last_seq.next().unwrap()), Check::RowCount);
    assert_eq!(told(|m| m.hour = m.hour.next().unwrap()), Check::RowTime);
    let mut manifest = manifest(&chunk, &chunk.object);
    manifest.last_recorded_at = later(manifest.last_recorded_at);
    let finding = check(&manifest, chunk.object.clone().into(), chunk.rows);
    assert_eq!(finding.unwrap().check, Check::RowTime);
    manifest.first_recorded_at = later(manifest.first_recorded_at);
    let finding = check(&manifest, chunk.object.clone().into(), chunk.rows);
    assert_eq!(finding.unwrap().check, Check::RowTime);
}

/// What both passes accept is what an auditor accepts of a chunk.
#[test]
fn an_auditor_accepts_what_was_sealed() {
    let chunk = chunk();
    let manifest = manifest(&chunk, &chunk.object);
    assert!(check_chunk(&manifest, &chunk.object.clone().into()).findings.is_empty());
}
