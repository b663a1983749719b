//! What the store is asked and told of erasures.

use std::collections::BTreeMap;

use ledger::names::{EventId, Workspace};
use sqlx::PgConnection;
use uuid::Uuid;

use super::StoreError;
use super::write::{bigint, uuid};
use crate::accept::Submission;
use crate::chain::days::{Closed, DAY};
use crate::chain::erasure::named;
use crate::chain::plan::{Chain, Plan};

/// Adds which of the events that the group asks to have erased are recorded, and which of those are
/// the ledger's own.
///
/// Closed days are looked into where their filters cannot rule an event out, as for duplicates.
pub async fn load(
    connection: &mut PgConnection,
    group: &[Submission],
    closed: &Closed,
    chains: &mut BTreeMap<Workspace, Chain>,
) -> Result<(), StoreError> {
    let asked: Vec<(&Workspace, EventId)> = group
        .iter()
        .flat_map(|s| named(&s.acts).iter().map(move |id| (&s.workspace, *id)))
        .collect();
    if asked.is_empty() {
        return Ok(());
    }
    let closed_days = asked
        .iter()
        .flat_map(|(workspace, id)| closed.days_of(id).map(move |day| (*workspace, *id, day)))
        .map(|(workspace, id, day)| (workspace, id, day, day.saturating_add(DAY)));
    let open_days =
        asked.iter().map(|(workspace, id)| (*workspace, *id, closed.open_from, i64::MAX));
    let looks: Vec<_> = closed_days.chain(open_days).collect();
    let names: Vec<&str> = looks.iter().map(|(workspace, ..)| workspace.as_str()).collect();
    let ids: Vec<Uuid> = looks.iter().map(|(_, id, ..)| uuid(*id)).collect();
    let from: Vec<i64> = looks.iter().map(|(_, _, from, _)| *from).collect();
    let before: Vec<i64> = looks.iter().map(|(.., before)| *before).collect();
    let rows: Vec<(String, Uuid, Option<bool>)> = sqlx::query_as(
        "SELECT e.workspace, e.event_id, event_type_of(e.payload) LIKE 'ledger.%'
         FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[])
              AS q (workspace, event_id, first, before)
         JOIN entries e ON e.workspace = q.workspace AND e.event_id = q.event_id
                       AND e.recorded_at >= q.first AND e.recorded_at < q.before",
    )
    .bind(names)
    .bind(ids)
    .bind(from)
    .bind(before)
    .fetch_all(connection)
    .await?;
    for (workspace, id, is_ledgers) in rows {
        let column = "entries.event_id";
        let id =
            EventId::from_bytes(id.into_bytes()).map_err(|_| StoreError::Corrupt { column })?;
        let chain = Workspace::new(&workspace).ok().and_then(|name| chains.get_mut(&name));
        let chain = chain.ok_or(StoreError::Corrupt { column: "entries.workspace" })?;
        chain.erasable.recorded.insert(id);
        // An erased or archived payload, of which this cannot be said, was none of the ledger's.
        if is_ledgers == Some(true) {
            chain.erasable.ledgers.insert(id);
        }
    }
    Ok(())
}

/// Writes where the plan's records ask for erasures, for who carries them out.
pub async fn note(
    connection: &mut PgConnection,
    plan: &Plan,
    group: &[Submission],
) -> Result<(), StoreError> {
    for record in &plan.records {
        let Some(submission) = group.get(record.index) else {
            continue;
        };
        if named(&submission.acts).is_empty() {
            continue;
        }
        sqlx::query("INSERT INTO erasures (workspace, seq, recorded_at) VALUES ($1, $2, $3)")
            .bind(submission.workspace.as_str())
            .bind(bigint(record.recorded.first_seq))
            .bind(record.recorded.recorded_at.get())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
