//! A sealed chunk as it is in force, and its rows without the payloads that are erased.
//!
//! The archive is the source here, not the database: what takes a chunk's place is made of that chunk
//! alone, after it has been checked as an auditor would, and of the entry that allows it, as sealed.

use bytes::Bytes;
use ledger::chain::RESERVED;
use ledger::chunk::{ChunkManifest, ObjectDigest};
use ledger::columns::{Derived, Row};
use ledger::hash::Digest;
use ledger::layout::{Artefact, Range};
use ledger::names::{EventId, Origin, Seq, Workspace};
use ledger::note::{Note, VerifierKey};
use ledger::time::Micros;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use verifier::audit::check_chunk;
use verifier::rows::{ChunkRows, ChunkWriter, RowsError};
use verifier::store::ArchiveSource;

use crate::erasure::Erased;
use crate::records::{bytes, decoded, unsigned};
use crate::state::{Mark, MarkError};
use crate::{Disagreement, SealError};

/// Where a chunk in force lies, by the marks of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its entries.
    pub range: Range,
    /// How often it was amended.
    pub erasure: u32,
    /// `H` of its manifest's note.
    pub note: Digest,
    /// Which leaf of the log that note is.
    pub log_index: u64,
    /// Whether the log says that its object is gone.
    pub pruned: bool,
}

/// A statement that reads where chunks lie: out of these rows of `sealed_chunks`, those with this condition.
macro_rules! places_sql {
    ($from:literal, $where:literal) => {
        concat!(
            "SELECT c.first_seq, c.last_seq, c.hour, coalesce(a.erasure, 0) AS erasure,
                    coalesce(a.manifest_hash, c.manifest_hash) AS manifest_hash,
                    coalesce(a.log_index, c.log_index) AS log_index,
                    EXISTS (SELECT FROM pruned_chunks p
                            WHERE p.workspace = c.workspace AND p.first_seq = c.first_seq) AS pruned
             FROM ",
            $from,
            " c
             LEFT JOIN LATERAL (
                 SELECT erasure, manifest_hash, log_index FROM amended_chunks a
                 WHERE a.workspace = c.workspace AND a.first_seq = c.first_seq
                 ORDER BY erasure DESC LIMIT 1
             ) a ON true ",
            $where
        )
    };
}

impl Place {
    /// The chunk that holds an entry; `None` where that is not sealed.
    pub async fn of(
        conn: &mut PgConnection,
        workspace: &Workspace,
        seq: Seq,
    ) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query(places_sql!(
            "(SELECT * FROM sealed_chunks WHERE workspace = $1 AND first_seq <= $2
              ORDER BY first_seq DESC LIMIT 1)",
            "WHERE c.last_seq >= $2"
        ))
        .bind(workspace.as_str())
        .bind(seq.get().cast_signed())
        .fetch_optional(conn)
        .await?;
        row.map(|row| Self::read(workspace, &row)).transpose()
    }

    /// The chunks of a workspace that are not pruned and whose hour began before `before`
    /// (microseconds since 1970), in the order of the chain.
    pub async fn all(
        conn: &mut PgConnection,
        workspace: &Workspace,
        from: i64,
        before: i64,
    ) -> Result<Vec<Self>, sqlx::Error> {
        let rows = sqlx::query(places_sql!(
            "sealed_chunks",
            "WHERE c.workspace = $1 AND c.hour >= $2 AND c.hour < $3 AND NOT EXISTS (
                 SELECT FROM pruned_chunks p
                 WHERE p.workspace = c.workspace AND p.first_seq = c.first_seq
             ) ORDER BY c.first_seq"
        ))
        .bind(workspace.as_str())
        .bind(from)
        .bind(before)
        .fetch_all(conn)
        .await?;
        rows.iter().map(|row| Self::read(workspace, row)).collect()
    }

    /// Every chunk of a workspace, in the order of the chain.
    pub async fn every(
        conn: &mut PgConnection,
        workspace: &Workspace,
    ) -> Result<Vec<Self>, sqlx::Error> {
        let rows = sqlx::query(places_sql!(
            "sealed_chunks",
            "WHERE c.workspace = $1 ORDER BY c.first_seq"
        ));
        let rows = rows.bind(workspace.as_str()).fetch_all(conn).await?;
        rows.iter().map(|row| Self::read(workspace, row)).collect()
    }

    fn read(workspace: &Workspace, row: &PgRow) -> Result<Self, sqlx::Error> {
        let seq = |column| Seq::new(unsigned(row, column)?).ok_or(sqlx::Error::RowNotFound);
        let hour = Micros::new(row.try_get("hour")?).ok_or(sqlx::Error::RowNotFound)?.hour();
        let (first_seq, last_seq) = (seq("first_seq")?, seq("last_seq")?);
        Ok(Self {
            range: Range { workspace: workspace.clone(), hour, first_seq, last_seq },
            erasure: decoded("erasure", u32::try_from(unsigned(row, "erasure")?))?,
            note: Digest::from_bytes(bytes(row, "manifest_hash")?),
            log_index: unsigned(row, "log_index")?,
            pruned: row.try_get("pruned")?,
        })
    }
}

/// A chunk in force, checked.
pub struct InForce {
    /// Its manifest.
    pub manifest: ChunkManifest,
    /// `H` of the manifest's note.
    pub note: Digest,
    object: Bytes,
}

impl InForce {
    /// Reads a chunk from the store, and checks it as an auditor does. Its manifest was signed by this
    /// seal key.
    pub fn load(
        source: &dyn ArchiveSource,
        key: &VerifierKey,
        origin: &Origin,
        place: &Place,
    ) -> Result<Self, SealError> {
        let manifest = manifest_of(source, key, origin, place)?;
        let object = Bytes::from(source.get(&manifest.object)?.unwrap_or_default());
        if let Some(finding) = check_chunk(&manifest, &object).findings.first() {
            return Err(wrong(&manifest.object, finding.to_string()).into());
        }
        Ok(Self { manifest, note: place.note, object })
    }

    /// Whether one of its entries is the ledger's own: such a chunk stays, as keys and erasures hang on it.
    pub fn has_ledger_events(&self) -> Result<bool, SealError> {
        let wrong = |error| self.wrong(&error);
        for batch in self.rows().map_err(wrong)? {
            let batch = batch.map_err(wrong)?;
            // The mark of an erased payload looks like one.
            let own = |row: &Row<'_>| {
                row.payload.is_some() && row.derived.event_type.starts_with(RESERVED)
            };
            if batch.rows().any(|row| own(&row)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Its rows, in order.
    pub(crate) fn rows(&self) -> Result<ChunkRows, RowsError> {
        let ChunkManifest { origin, workspace, .. } = &self.manifest;
        ChunkRows::open(self.object.clone(), origin, workspace, self.manifest.rows())
    }

    /// What a step over its rows came to grief over.
    pub(crate) fn wrong(&self, error: &RowsError) -> SealError {
        let (key, problem) = (self.manifest.object.clone(), error.to_string());
        Disagreement::Sealed { key, problem }.into()
    }

    /// The payload at a seq; `None` where there is none.
    pub fn payload(&self, seq: Seq) -> Result<Option<Vec<u8>>, SealError> {
        let wrong = |error| self.wrong(&error);
        for batch in self.rows().map_err(wrong)? {
            let batch = batch.map_err(wrong)?;
            if let Some(row) = batch.rows().find(|row| row.seq == seq.get()) {
                return Ok(row.payload.map(<[u8]>::to_vec));
            }
        }
        Ok(None)
    }

    /// The chunk that takes this one's place: without what is erased. `None` where nothing of it is
    /// there any more.
    pub fn without(&self, erased: &Erased) -> Result<Option<(ChunkManifest, Vec<u8>)>, SealError> {
        let amended = self.rewrite(erased).map_err(|error| self.wrong(&error))?;
        Ok(amended.map(|object| {
            let (range, erasure) = (self.manifest.range(), self.manifest.erasure() + 1);
            let manifest = ChunkManifest {
                amends: self.note,
                object: Artefact::Events { range, erasure }.to_string(),
                digest: ObjectDigest::of(&object),
                ..self.manifest.clone()
            };
            (manifest, object)
        }))
    }

    fn rewrite(&self, erased: &Erased) -> Result<Option<Vec<u8>>, RowsError> {
        let ChunkManifest { origin, workspace, .. } = &self.manifest;
        let mut writer = ChunkWriter::new(origin, workspace)?;
        let mut count = 0_u64;
        for batch in self.rows()? {
            for row in batch?.rows() {
                if is_erased(&row, erased) {
                    count += 1;
                    let derived = Derived::withheld(row.recorded_at);
                    writer.push(&Row { payload: None, derived, ..row })?;
                } else {
                    writer.push(&row)?;
                }
            }
        }
        if count == 0 { Ok(None) } else { writer.finish().map(Some) }
    }
}

/// The manifest of a chunk in force, from the archive's copy: the one that the log has, signed by this seal key.
pub(crate) fn manifest_of(
    source: &dyn ArchiveSource,
    key: &VerifierKey,
    origin: &Origin,
    place: &Place,
) -> Result<ChunkManifest, SealError> {
    let Place { range, erasure, note, .. } = place;
    let (range, erasure) = (range.clone(), *erasure);
    let copy = Artefact::Manifest { range, erasure }.to_string();
    let text = source.get(&copy)?.unwrap_or_default();
    if Digest::of(&text) != *note {
        return Err(wrong(&copy, "the log has another manifest").into());
    }
    let body = Note::parse(&text).and_then(|signed| signed.verify(key));
    let mark = body.map_err(MarkError::from).and_then(|body| Mark::of(body, *note, origin));
    match mark {
        Ok(Mark::Chunk { manifest, .. } | Mark::Amendment { manifest, .. }) => Ok(*manifest),
        Ok(_) => Err(wrong(&copy, "it is no manifest").into()),
        Err(error) => Err(wrong(&copy, error).into()),
    }
}

pub(crate) fn wrong(key: &str, problem: impl ToString) -> Disagreement {
    Disagreement::Sealed { key: key.to_owned(), problem: problem.to_string() }
}

/// Whether a row holds a payload that is to go. Those of `ledger.` events never do.
fn is_erased(row: &Row<'_>, erased: &Erased) -> bool {
    row.payload.is_some()
        && !row.derived.event_type.starts_with(RESERVED)
        && EventId::from_bytes(row.event_id).is_ok_and(|id| erased.names(row.seq, &id))
}
