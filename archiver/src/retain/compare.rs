//! A sealed chunk against what the database has of it.

use ledger::chunk::ChunkManifest;
use ledger::columns::Row;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::amend::InForce;
use crate::records::{bytes, unsigned};
use crate::{Disagreement, SealError};

/// Checks that the database holds the chunk's entries as they are sealed, payloads too: what the archive
/// has is verified, and what only the database has must not be destroyed.
pub(super) async fn compare(conn: &mut PgConnection, chunk: &InForce) -> Result<(), SealError> {
    let ChunkManifest { workspace, hour, .. } = &chunk.manifest;
    let wrong = |error| chunk.wrong(&error);
    for batch in chunk.rows().map_err(wrong)? {
        let batch = batch.map_err(wrong)?;
        let (Some(first), Some(last)) = (batch.rows().next(), batch.rows().last()) else {
            continue;
        };
        let found = sqlx::query(
            "SELECT seq, uuid_send(event_id) AS event_id, payload_digest, link, payload, recorded_at
             FROM entries WHERE workspace = $1 AND seq BETWEEN $2 AND $3
               AND recorded_at >= $4 AND recorded_at < $5 ORDER BY seq",
        )
        .bind(workspace.as_str())
        .bind(first.seq.cast_signed())
        .bind(last.seq.cast_signed())
        .bind(hour.start().get())
        .bind(hour.end())
        .fetch_all(&mut *conn)
        .await?;
        let mut found = found.iter();
        for row in batch.rows() {
            let differs = match found.next() {
                None => Some("seq"),
                Some(found) => difference(&row, found)?,
            };
            if let Some(column) = differs {
                let (workspace, seq) = (workspace.clone(), row.seq);
                return Err(Disagreement::Differs { workspace, seq, column }.into());
            }
        }
    }
    Ok(())
}

/// The first column in which the database says something else than the archive.
fn difference(sealed: &Row<'_>, found: &PgRow) -> Result<Option<&'static str>, sqlx::Error> {
    if unsigned(found, "seq")? != sealed.seq {
        return Ok(Some("seq"));
    }
    let payload: Option<&[u8]> = found.try_get("payload")?;
    // A payload that is erased in the archive may still wait to be erased here; one that is erased here
    // is erased there before.
    let same_payload = match (payload, sealed.payload) {
        (Some(found), Some(sealed)) => found == sealed,
        (None, Some(_)) => false,
        (_, None) => true,
    };
    Ok(if found.try_get::<i64, _>("recorded_at")? != sealed.recorded_at {
        Some("recorded_at")
    } else if bytes::<16>(found, "event_id")? != sealed.event_id {
        Some("event_id")
    } else if bytes::<32>(found, "payload_digest")? != sealed.payload_digest {
        Some("payload_digest")
    } else if bytes::<32>(found, "link")? != sealed.link {
        Some("link")
    } else if same_payload {
        None
    } else {
        Some("payload")
    })
}
