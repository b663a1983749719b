//! Publishing: the newest revision of each rolled-up day, from the archive into the schema `marts` of a database.
//!
//! The archive is the source: a manifest is read from it, compared with what the log has by its digest, and its object
//! with the manifest, before a row is written. Each day is one transaction that replaces what was there, so it may be
//! run at any time, and a mart that was lost or changed is made again by `--all`. Each row names its manifest.
//!
//! Not here: computing (see [`crate::rollup`]).

use std::collections::BTreeSet;

use bytes::Bytes;
use ledger::chunk::ObjectDigest;
use ledger::hash::Digest;
use ledger::layout::Artefact;
use ledger::names::{RollupName, Workspace};
use ledger::note::Note;
use ledger::rollup::RollupManifest;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use verifier::rollup::{definitions, json_rows, withheld};

use crate::amend::wrong;
use crate::records::{bytes, unsigned};
use crate::recover::Start;
use crate::seal::Archiver;
use crate::{Disagreement, SealError};

/// Rows of a day that are sent at a time.
const ROWS: usize = 1_000;

/// What publishing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Days that were replaced.
    pub days: u64,
    /// Rows in them.
    pub rows: u64,
    /// Days that were there already.
    pub current: u64,
    /// Rollups that have no mart: definitions of another version of this program.
    pub unknown: BTreeSet<String>,
}

/// A day to publish.
struct Due {
    log_index: u64,
    note: Digest,
    object: String,
}

impl Archiver<'_> {
    /// Publishes every day whose mart has another revision than the log; all of them, where `all` says so.
    pub async fn publish_marts(&self, all: bool) -> Result<Published, SealError> {
        let (mut conn, start) = self.begin().await?;
        let mut published = Published::default();
        let (due, current) = due(&mut conn, all).await?;
        published.current = current;
        for due in due {
            let manifest = self.manifest(&start, &due)?;
            let mart = |name: &RollupName| definitions().iter().any(|known| known.name == *name);
            if !mart(&manifest.name) {
                published.unknown.insert(manifest.name.to_string());
                continue;
            }
            let object = Bytes::from(self.vault.get(&manifest.object)?.unwrap_or_default());
            if ObjectDigest::of(&object) != manifest.digest {
                return Err(wrong(
                    &manifest.object,
                    "it has other digests than its manifest states",
                )
                .into());
            }
            published.rows += replace(&mut conn, &due, &manifest, &object).await?;
            published.days += 1;
        }
        Ok(published)
    }

    /// The manifest of a day, from the archive's copy: the one that the log has.
    fn manifest(&self, start: &Start, due: &Due) -> Result<RollupManifest, SealError> {
        let place = match Artefact::parse(&due.object) {
            Some(Artefact::Rollup(place)) => place,
            _ => return Err(wrong(&due.object, "it is no rollup's key").into()),
        };
        let copy = Artefact::RollupNote(place).to_string();
        let text = self.vault.get(&copy)?.unwrap_or_default();
        if Digest::of(&text) != due.note {
            return Err(wrong(&copy, "the log has another manifest").into());
        }
        let note = Note::parse(&text).map_err(|error| wrong(&copy, error))?;
        let body =
            note.verify(start.line.at(due.log_index)).map_err(|error| wrong(&copy, error))?;
        let manifest = RollupManifest::parse(body).map_err(|error| wrong(&copy, error))?;
        if manifest.origin == self.origin {
            Ok(manifest)
        } else {
            let (configured, found) = (self.origin.clone(), manifest.origin.to_string());
            Err(Disagreement::Origin { configured, found }.into())
        }
    }
}

/// The newest revision of each day: those whose mart has another one, and how many others there are.
async fn due(conn: &mut PgConnection, all: bool) -> Result<(Vec<Due>, u64), SealError> {
    let rows = sqlx::query(
        "SELECT r.log_index, r.manifest_hash, r.object,
                p.manifest IS NOT DISTINCT FROM encode(r.manifest_hash, 'hex') AS is_current
         FROM (SELECT DISTINCT ON (workspace, name, day) * FROM rollups
               ORDER BY workspace, name, day, version DESC, revision DESC) r
         LEFT JOIN marts.periods p ON p.workspace = r.workspace AND p.rollup = r.name
                                  AND p.day = date '1970-01-01' + r.day
         ORDER BY r.log_index",
    );
    let (mut due, mut current) = (Vec::new(), 0);
    for row in rows.fetch_all(conn).await? {
        if row.try_get("is_current")? && !all {
            current += 1;
            continue;
        }
        due.push(Due {
            log_index: unsigned(&row, "log_index")?,
            note: Digest::from_bytes(bytes(&row, "manifest_hash")?),
            object: row.try_get("object")?,
        });
    }
    Ok((due, current))
}

/// Replaces a day's rows, and gives how many there are now.
async fn replace(
    conn: &mut PgConnection,
    due: &Due,
    manifest: &RollupManifest,
    object: &Bytes,
) -> Result<u64, SealError> {
    let RollupManifest { name, workspace, day, version, revision, .. } = manifest;
    let note = due.note.to_string();
    let mut tx = conn.begin().await?;
    // The name is one of a definition's: letters, digits and `_`.
    let delete =
        format!("DELETE FROM marts.{name} WHERE workspace = $1 AND day = date '1970-01-01' + $2");
    for statement in [
        delete.as_str(),
        "DELETE FROM marts.periods WHERE workspace = $1 AND day = date '1970-01-01' + $2 AND rollup = $3",
    ] {
        let query = sqlx::query(AssertSqlSafe(statement)).bind(workspace.as_str()).bind(day.get());
        let query = if statement.contains("$3") { query.bind(name.as_str()) } else { query };
        query.execute(&mut *tx).await?;
    }
    let rows = json_rows(object)?;
    let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    for rows in rows.chunks(ROWS) {
        insert(&mut tx, name, workspace, &note, rows).await?;
    }
    sqlx::query(
        "INSERT INTO marts.periods (rollup, workspace, day, version, revision, log_index, manifest, withheld, rows)
         VALUES ($1, $2, date '1970-01-01' + $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(name.as_str())
    .bind(workspace.as_str())
    .bind(day.get())
    .bind(i64::from(*version))
    .bind(i64::from(*revision))
    .bind(due.log_index.cast_signed())
    .bind(&note)
    .bind(withheld(object)?.cast_signed())
    .bind(count.cast_signed())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(count)
}

async fn insert(
    conn: &mut PgConnection,
    name: &RollupName,
    workspace: &Workspace,
    note: &str,
    rows: &[Map<String, Value>],
) -> Result<(), SealError> {
    let Some(first) = rows.first() else { return Ok(()) };
    // Columns are those of the object: a mart that lacks one refuses the whole day. Names are those of the
    // definitions, and none is taken that would not stand in SQL as it is.
    let columns: Vec<&str> = first.keys().map(String::as_str).collect();
    if let Some(bad) = columns.iter().find(|column| RollupName::new(column).is_err()) {
        return Err(wrong(name.as_str(), format!("`{bad}` is no name of a column")).into());
    }
    let columns = columns.join(", ");
    let insert = format!(
        "INSERT INTO marts.{name} (workspace, manifest, {columns})
         SELECT $1, $2, {columns} FROM json_populate_recordset(NULL::marts.{name}, $3::json)"
    );
    let rows = Value::Array(rows.iter().cloned().map(Value::Object).collect());
    sqlx::query(AssertSqlSafe(insert))
        .bind(workspace.as_str())
        .bind(note)
        .bind(rows.to_string())
        .execute(conn)
        .await?;
    Ok(())
}
