//! Leaves that are about to be published, kept in the database before any object holds one.
//!
//! Bundles and tiles that no checkpoint covers yet may lie in the store when an archiver dies, and objects
//! are never written again with other bytes. The next one may have other work to do, or another policy: so
//! whoever comes next publishes these leaves first, and nothing else in their place.

use sqlx::{Connection as _, PgConnection, Row as _};

use crate::publish::Batch;
use crate::records::unsigned;
use crate::recover::Start;
use crate::seal::Archiver;
use crate::{Disagreement, SealError};

/// Keeps leaves that are to follow on `size` others.
pub(crate) async fn keep(
    conn: &mut PgConnection,
    size: u64,
    leaves: &[String],
) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    for (index, leaf) in (size.cast_signed()..).zip(leaves) {
        sqlx::query(
            "INSERT INTO planned_leaves (log_index, note) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(index)
        .bind(leaf)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

/// Forgets leaves that are published, up to `size` of them; all, where none is given: those that a key
/// has signed whose time has ended.
pub(crate) async fn forget(conn: &mut PgConnection, size: Option<u64>) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM planned_leaves WHERE log_index < $1")
        .bind(size.map_or(i64::MAX, u64::cast_signed))
        .execute(conn)
        .await?;
    Ok(())
}

impl Archiver<'_> {
    /// Publishes what an earlier run has kept and not come to publish.
    pub(crate) async fn finish_planned(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
    ) -> Result<(), SealError> {
        let size = start.log.size();
        let rows = sqlx::query(
            "SELECT log_index, note FROM planned_leaves WHERE log_index >= $1 ORDER BY log_index",
        );
        let rows = rows.bind(size.cast_signed()).fetch_all(&mut *conn).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(start);
        for (expected, row) in (size..).zip(&rows) {
            let index = unsigned(row, "log_index")?;
            if index != expected {
                return Err(Disagreement::Planned { index, size }.into());
            }
            self.log_leaf(&mut batch, row.try_get("note")?)?;
        }
        self.publish(conn, start, batch).await?;
        Ok(())
    }
}
