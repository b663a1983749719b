//! Made-up ledgers: their rows in a database, and the archive that they must come to.

use std::collections::BTreeMap;

use checks::forge::{Archive, Chunk, Content, Depth, Leaf, OwnedRow, honest};
use ledger::names::Workspace;
use ledger::note::NoteSigner;
use ledger::time::Hour;
use ledger::verify::Trust;
use sqlx::{PgConnection, PgPool};

/// A ledger as its archive says it, in the order in which it is sealed.
#[derive(Clone)]
pub struct Ledger {
    pub content: Content,
    pub signer: NoteSigner,
    /// The same key, as it lies in a file.
    pub seal_pem: String,
    pub trust: Trust,
}

impl Ledger {
    /// A made-up ledger whose chunks are cut as the archiver cuts them, at `rows` rows.
    pub fn new(seed: u64, rows: usize) -> Self {
        let made = honest(seed);
        let (mut content, signer, seal_pem) = (made.content, made.seal, made.seal_pem);
        let mut leaves = Vec::new();
        let mut hour: BTreeMap<Workspace, Vec<_>> = BTreeMap::new();
        for leaf in content.leaves.drain(..) {
            match leaf {
                Leaf::Chunk(chunk) => {
                    let workspace = chunk.manifest.workspace.clone();
                    let chunks: &mut Vec<Chunk> = hour.entry(workspace).or_default();
                    match chunks.first_mut() {
                        Some(first) => first.rows.extend(chunk.rows),
                        None => chunks.push(*chunk),
                    }
                }
                Leaf::Hour(_) => {
                    for chunk in std::mem::take(&mut hour).into_values().flatten() {
                        leaves.extend(cut(&chunk, rows));
                    }
                    leaves.push(leaf);
                }
            }
        }
        content.leaves = leaves;
        content.renumber();
        content.settle(Depth::Links, &signer);
        Self { content, signer, seal_pem, trust: made.trust }
    }

    /// One of four hours or five.
    pub fn of_several_hours() -> Self {
        let mut ledgers = (0..).map(|seed| Self::new(seed, super::ROWS));
        ledgers.find(|ledger| ledger.hours().count() > 3).unwrap()
    }

    /// The archive that the ledger must come to.
    pub fn archive(&self) -> Archive {
        self.content.seal(&self.signer)
    }

    /// As it was before the last chunk's entries were recorded.
    pub fn drop_last_chunk(&mut self) {
        let leaves = &mut self.content.leaves;
        let last = leaves.iter().rposition(|leaf| matches!(leaf, Leaf::Chunk(_)));
        leaves.remove(last.unwrap());
    }

    pub fn hours(&self) -> impl Iterator<Item = Hour> {
        self.content.leaves.iter().filter_map(|leaf| match leaf {
            Leaf::Hour(note) => Some(note.hour),
            Leaf::Chunk(_) => None,
        })
    }

    pub fn last_hour(&self) -> Hour {
        self.hours().last().unwrap()
    }

    pub fn rows(&self) -> impl Iterator<Item = (&Workspace, &OwnedRow)> {
        self.content
            .chunks()
            .flat_map(|chunk| chunk.rows.iter().map(|row| (&chunk.manifest.workspace, row)))
    }

    /// Brings up the schema, and records every row.
    pub async fn record(&self, pool: &PgPool) {
        sqlx::migrate!("../migrations").run(pool).await.unwrap();
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO ledger (origin) VALUES ($1)")
            .bind(self.content.origin.as_str())
            .execute(&mut *tx)
            .await
            .unwrap();
        for (workspace, row) in self.rows() {
            record(&mut tx, workspace, row).await;
        }
        tx.commit().await.unwrap();
    }
}

/// Cuts an hour's rows into chunks of at most so many rows, none of which splits a submission.
fn cut(whole: &Chunk, rows: usize) -> Vec<Leaf> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let starts = |row: &&OwnedRow| row.row.submission_index == 0;
    for first in whole.rows.iter().filter(starts) {
        let count = usize::from(first.row.submission_count);
        let at = whole.rows.iter().position(|row| std::ptr::eq(row, first)).unwrap();
        let submission = &whole.rows[at..at + count];
        match chunks.last_mut().filter(|chunk| chunk.rows.len() + count <= rows) {
            Some(chunk) => chunk.rows.extend_from_slice(submission),
            None => {
                let rows = submission.to_vec();
                chunks.push(Chunk { rows, ..whole.clone() });
            }
        }
    }
    chunks.into_iter().map(|chunk| Leaf::Chunk(Box::new(chunk))).collect()
}

/// Records one row as the chain writer does.
pub async fn record(conn: &mut PgConnection, workspace: &Workspace, owned: &OwnedRow) {
    let row = &owned.row;
    let seq = row.seq.cast_signed();
    sqlx::query("SELECT ensure_day($1)").bind(row.recorded_at).execute(&mut *conn).await.unwrap();
    // With its last entry, whose link it holds.
    if row.submission_index + 1 == row.submission_count {
        sqlx::query(
            "INSERT INTO submissions (workspace, first_seq, event_count, recorded_at, counter,
             submission_hash, public_key, signature, last_link)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(workspace.as_str())
        .bind(seq - i64::from(row.submission_index))
        .bind(row.submission_count.cast_signed())
        .bind(row.recorded_at)
        .bind(row.counter.cast_signed())
        .bind(row.submission_hash.as_slice())
        .bind(row.public_key.as_slice())
        .bind(row.signature.as_slice())
        .bind(row.link.as_slice())
        .execute(&mut *conn)
        .await
        .unwrap();
    }
    sqlx::query(
        "INSERT INTO entries (workspace, seq, recorded_at, event_id, payload_digest, link, payload)
         VALUES ($1, $2, $3, encode($4, 'hex')::uuid, $5, $6, $7)",
    )
    .bind(workspace.as_str())
    .bind(seq)
    .bind(row.recorded_at)
    .bind(row.event_id.as_slice())
    .bind(row.payload_digest.as_slice())
    .bind(row.link.as_slice())
    .bind(owned.payload.as_deref())
    .execute(&mut *conn)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO heads (workspace, last_seq, link, recorded_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (workspace) DO UPDATE SET last_seq = $2, link = $3, recorded_at = $4",
    )
    .bind(workspace.as_str())
    .bind(seq)
    .bind(row.link.as_slice())
    .bind(row.recorded_at)
    .execute(conn)
    .await
    .unwrap();
}
