//! What is sealed so far: read from a leaf of the log, kept in the database, carried in memory.
//!
//! There is one way to get there. Sealing an hour appends leaves to the log, and whether the
//! archiver that wrote them or a later one applies them, it reads them from the log's own bytes.

use std::collections::BTreeMap;

use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::hour::{Heads, HourNote};
use ledger::line::{KeyLine, LineError};
use ledger::merkle::Frontier;
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{BodyError, Note, NoteError};
use ledger::prune::PruneRecord;
use ledger::rollup::RollupManifest;
use ledger::time::{Hour, Micros};
use sqlx::{PgConnection, Row as _};

use crate::records::{bytes, decoded, unsigned};
use crate::{keys, planned};

/// What a leaf of the log says is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A chunk.
    Chunk {
        /// Its manifest.
        manifest: Box<ChunkManifest>,
        /// `H` of the manifest's note.
        note: Digest,
    },
    /// A chunk's new object, without the payloads that were erased.
    Amendment {
        /// Its manifest.
        manifest: Box<ChunkManifest>,
        /// `H` of the manifest's note.
        note: Digest,
    },
    /// An hour.
    Hour {
        /// The hour.
        hour: Hour,
        /// `H` of the hour's note.
        note: Digest,
    },
    /// The record that chunks' objects are gone.
    Prune(Box<PruneRecord>),
    /// A rollup: it seals nothing.
    Rollup {
        /// Its manifest.
        manifest: Box<RollupManifest>,
        /// `H` of the manifest's note.
        note: Digest,
    },
    /// A note about the seal keys.
    Keys {
        /// The seal keys behind it.
        line: Box<KeyLine>,
        /// The whole note.
        note: String,
    },
}

/// Why a leaf of the log is none that this archiver has written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarkError {
    /// It is no signed note, or not signed by its key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It does not follow from the seal keys before it, or the one in force did not sign it.
    #[error(transparent)]
    Line(#[from] LineError),
    /// It is of no kind that an archiver of this version writes.
    #[error(
        "it is no chunk's manifest, hour note, prune record, rollup or note about the seal keys: {0}"
    )]
    Body(#[from] BodyError),
    /// It is of another ledger.
    #[error("it is of the ledger {0}")]
    Origin(Origin),
}

impl Mark {
    /// Reads the leaf that comes behind those in `tree`, signed by the key then in force.
    pub fn read(
        leaf: &[u8],
        line: &KeyLine,
        tree: &Frontier,
        origin: &Origin,
    ) -> Result<Self, MarkError> {
        let note = Note::parse(leaf)?;
        match line.follow(&note, leaf, tree)? {
            None => Self::of(note.body(), Digest::of(leaf), origin),
            Some(line) => {
                let note = String::from_utf8_lossy(leaf).into_owned();
                Ok(Self::Keys { line: Box::new(line), note })
            }
        }
    }

    /// Reads the body of a note with this digest, whose signature was checked.
    pub(crate) fn of(body: &str, note: Digest, origin: &Origin) -> Result<Self, MarkError> {
        let (mark, of) = match ChunkManifest::parse(body) {
            Ok(manifest) => {
                let (of, is_original) = (manifest.origin.clone(), manifest.is_original());
                let manifest = Box::new(manifest);
                if is_original {
                    (Self::Chunk { manifest, note }, of)
                } else {
                    (Self::Amendment { manifest, note }, of)
                }
            }
            Err(BodyError::Kind { .. }) => match PruneRecord::parse(body) {
                Ok(record) => {
                    let of = record.origin.clone();
                    (Self::Prune(Box::new(record)), of)
                }
                Err(BodyError::Kind { .. }) => match RollupManifest::parse(body) {
                    Ok(manifest) => {
                        let of = manifest.origin.clone();
                        (Self::Rollup { manifest: Box::new(manifest), note }, of)
                    }
                    Err(BodyError::Kind { .. }) => {
                        let HourNote { hour, origin, .. } = HourNote::parse(body)?;
                        (Self::Hour { hour, note }, origin)
                    }
                    Err(error) => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        if of == *origin { Ok(mark) } else { Err(MarkError::Origin(of)) }
    }

    /// The end of the hour that it seals; `None` for a chunk.
    pub fn through(&self) -> Option<Micros> {
        match self {
            Self::Hour { hour, .. } => Micros::new(hour.end()),
            Self::Chunk { .. } | Self::Amendment { .. } | Self::Prune(_) => None,
            Self::Rollup { .. } | Self::Keys { .. } => None,
        }
    }
}

/// The newest chunk of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Its last entry.
    pub last_seq: Seq,
    /// The link of that entry.
    pub last_link: Digest,
    /// `H` of its manifest's note.
    pub manifest: Digest,
}

/// Everything that sealing the next hour needs to know of the hours before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    tails: BTreeMap<Workspace, Tail>,
    last_hour: Option<(Hour, Digest)>,
}

impl State {
    /// Takes up a mark.
    pub fn apply(&mut self, mark: &Mark) {
        match mark {
            Mark::Chunk { manifest, note } => {
                let ChunkManifest { last_seq, last_link, .. } = **manifest;
                let tail = Tail { last_seq, last_link, manifest: *note };
                self.tails.insert(manifest.workspace.clone(), tail);
            }
            // Links stay, and `prev_manifest` always names an original.
            Mark::Amendment { .. } => {}
            // The chain goes on by its manifests, which stay.
            Mark::Prune(_) => {}
            Mark::Rollup { .. } => {}
            // See `crate::recover::Start::line`.
            Mark::Keys { .. } => {}
            Mark::Hour { hour, note } => self.last_hour = Some((*hour, *note)),
        }
    }

    /// The newest chunk of a workspace.
    pub fn tail(&self, workspace: &Workspace) -> Option<&Tail> {
        self.tails.get(workspace)
    }

    /// The newest chunk of every workspace that has one.
    pub fn tails(&self) -> impl Iterator<Item = (&Workspace, &Tail)> {
        self.tails.iter()
    }

    /// The last sealed hour, and `H` of its note.
    pub fn last_hour(&self) -> Option<(Hour, Digest)> {
        self.last_hour
    }

    /// The sealed head of every workspace.
    pub fn heads(&self) -> Heads {
        let mut heads = Heads::new();
        for (workspace, tail) in &self.tails {
            heads.set(workspace.clone(), tail.last_seq, tail.last_link);
        }
        heads
    }

    /// Reads what the database remembers.
    pub async fn load(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut state = Self::default();
        let rows = sqlx::query(
            "SELECT DISTINCT ON (workspace) workspace, last_seq, last_link, manifest_hash
             FROM sealed_chunks ORDER BY workspace, first_seq DESC",
        );
        for row in rows.fetch_all(&mut *conn).await? {
            let workspace = Workspace::new(row.try_get("workspace")?);
            let last_seq = Seq::new(unsigned(&row, "last_seq")?).ok_or(sqlx::Error::RowNotFound)?;
            let tail = Tail {
                last_seq,
                last_link: Digest::from_bytes(bytes(&row, "last_link")?),
                manifest: Digest::from_bytes(bytes(&row, "manifest_hash")?),
            };
            state.tails.insert(decoded("workspace", workspace)?, tail);
        }
        let row =
            sqlx::query("SELECT hour, note_hash FROM sealed_hours ORDER BY hour DESC LIMIT 1");
        if let Some(row) = row.fetch_optional(conn).await? {
            let hour = Micros::new(row.try_get("hour")?).ok_or(sqlx::Error::RowNotFound)?.hour();
            state.last_hour = Some((hour, Digest::from_bytes(bytes(&row, "note_hash")?)));
        }
        Ok(state)
    }
}

/// The newest checkpoint that the database knows to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Leaves in its log.
    pub size: u64,
    /// The whole note.
    pub note: String,
}

impl Published {
    /// Reads what the database remembers; `None` where nothing was published yet.
    pub async fn load(conn: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query("SELECT log_size, checkpoint FROM published");
        let row = row.fetch_optional(conn).await?;
        row.map(|row| {
            Ok(Self { size: unsigned(&row, "log_size")?, note: row.try_get("checkpoint")? })
        })
        .transpose()
    }
}

/// Keeps marks and the checkpoint that covers them, all or none. `marks` are the leaves that end
/// with the checkpoint's last.
pub async fn save(
    conn: &mut PgConnection,
    marks: &[Mark],
    published: &Published,
) -> Result<(), sqlx::Error> {
    let size = decoded("log_size", i64::try_from(published.size))?;
    let count = decoded("log_index", i64::try_from(marks.len()))?;
    let mut tx = sqlx::Connection::begin(conn).await?;
    for (index, mark) in (size - count..).zip(marks) {
        let insert = match mark {
            Mark::Chunk { manifest, note } => sqlx::query(
                "INSERT INTO sealed_chunks (log_index, manifest_hash, workspace, first_seq,
                 last_seq, hour, part, last_link) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(index)
            .bind(note.as_bytes().as_slice())
            .bind(manifest.workspace.as_str())
            .bind(manifest.first_seq.get().cast_signed())
            .bind(manifest.last_seq.get().cast_signed())
            .bind(manifest.hour.start().get())
            .bind(manifest.part.cast_signed())
            .bind(manifest.last_link.as_bytes().as_slice()),
            Mark::Amendment { manifest, note } => sqlx::query(
                "INSERT INTO amended_chunks (log_index, manifest_hash, workspace, first_seq, erasure)
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(index)
            .bind(note.as_bytes().as_slice())
            .bind(manifest.workspace.as_str())
            .bind(manifest.first_seq.get().cast_signed())
            .bind(i64::from(manifest.erasure())),
            Mark::Prune(record) => sqlx::query(
                "INSERT INTO pruned_chunks (log_index, workspace, first_seq)
                 SELECT $1, workspace, first_seq FROM sealed_chunks
                 WHERE workspace = $2 AND first_seq >= $3 AND last_seq <= $4",
            )
            .bind(index)
            .bind(record.workspace.as_str())
            .bind(record.first_seq.get().cast_signed())
            .bind(record.last_seq.get().cast_signed()),
            Mark::Hour { hour, note } => sqlx::query(
                "INSERT INTO sealed_hours (log_index, note_hash, hour) VALUES ($1, $2, $3)",
            )
            .bind(index)
            .bind(note.as_bytes().as_slice())
            .bind(hour.start().get()),
            Mark::Rollup { manifest, note } => sqlx::query(
                "INSERT INTO rollups (log_index, manifest_hash, name, version, sql_sha256, workspace, day,
                 revision, inputs_root, object) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(index)
            .bind(note.as_bytes().as_slice())
            .bind(manifest.name.as_str())
            .bind(i64::from(manifest.version))
            .bind(manifest.sql_sha256.as_bytes().as_slice())
            .bind(manifest.workspace.as_str())
            .bind(manifest.day.get())
            .bind(i64::from(manifest.revision))
            .bind(manifest.inputs_root.as_bytes().as_slice())
            .bind(&manifest.object),
            Mark::Keys { line, note } => {
                keys::keep(&mut tx, line).await?;
                keys::insert(index, note)
            }
        };
        insert.execute(&mut *tx).await?;
    }
    planned::forget(&mut tx, Some(published.size)).await?;
    sqlx::query(
        "INSERT INTO published (log_size, checkpoint) VALUES ($1, $2)
         ON CONFLICT (one) DO UPDATE SET log_size = $1, checkpoint = $2",
    )
    .bind(size)
    .bind(&published.note)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
