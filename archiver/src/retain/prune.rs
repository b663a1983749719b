//! Objects that leave the archive: their records first, then they themselves.

use ledger::hash::Digest;
use ledger::layout::{Artefact, Range};
use ledger::prune::{PruneRecord, manifests_root};
use ledger::time::Micros;
use sqlx::PgConnection;

use super::plan::{Run, Stay, Why, due_chunks};
use super::{PrunedRun, Retained};
use crate::amend::InForce;
use crate::policy::RetentionPolicy;
use crate::publish::Batch;
use crate::recover::Start;
use crate::seal::Archiver;
use crate::step::Step;
use crate::vault::Removal;
use crate::{SealError, erase};

/// What a record will say, as far as its chunks have been read.
struct Part {
    run: PrunedRun,
    notes: Vec<Digest>,
    last_recorded_at: Micros,
}

impl Part {
    fn starting_with(chunk: &InForce) -> Self {
        let manifest = &chunk.manifest;
        let run = PrunedRun {
            workspace: manifest.workspace.clone(),
            first_seq: manifest.first_seq,
            last_seq: manifest.last_seq,
            hours: (manifest.hour, manifest.hour),
            chunks: 0,
        };
        Self { run, notes: Vec::new(), last_recorded_at: manifest.last_recorded_at }
    }

    fn push(&mut self, chunk: &InForce) {
        self.run.chunks += 1;
        self.run.last_seq = chunk.manifest.last_seq;
        self.run.hours.1 = chunk.manifest.hour;
        self.last_recorded_at = chunk.manifest.last_recorded_at;
        self.notes.push(chunk.note);
    }
}

impl Archiver<'_> {
    /// Plans what is to go from the archive, and publishes the records of it.
    pub(super) async fn prune(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        policy: &RetentionPolicy,
        retained: &mut Retained,
    ) -> Result<(), SealError> {
        let (runs, stays) = due_chunks(conn, &start.state, policy, &[]).await?;
        retained.stays.extend(stays);
        let mut notes = Vec::new();
        for run in &runs {
            for part in self.read(start, run, retained)? {
                notes.push(self.sign(&self.record(policy, run, &part).to_body())?);
                retained.pruned.push(part.run);
            }
        }
        if notes.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(start);
        for note in &notes {
            self.log_leaf(&mut batch, note.clone())?;
        }
        self.publish(conn, start, batch).await?;
        Ok(())
    }

    /// Reads and verifies the chunks of a run for the last time, and leaves out those that stay.
    fn read(
        &self,
        start: &Start,
        run: &Run,
        retained: &mut Retained,
    ) -> Result<Vec<Part>, SealError> {
        let (mut parts, mut open) = (Vec::new(), None::<Part>);
        for place in &run.places {
            let chunk = self.in_force(start, place)?;
            if chunk.has_ledger_events()? {
                retained.stays.push(Stay::chunk(place, Why::LedgerEvents));
                parts.extend(open.take());
            } else {
                open.get_or_insert_with(|| Part::starting_with(&chunk)).push(&chunk);
            }
        }
        parts.extend(open);
        Ok(parts)
    }

    fn record(&self, policy: &RetentionPolicy, run: &Run, part: &Part) -> PruneRecord {
        PruneRecord {
            origin: self.origin.clone(),
            workspace: part.run.workspace.clone(),
            first_seq: part.run.first_seq,
            last_seq: part.run.last_seq,
            chunks: part.run.chunks,
            manifests_root: manifests_root(&part.notes),
            last_recorded_at: part.last_recorded_at,
            keep_days: run.keep_days,
            reason: policy.why().to_owned(),
            policy_sha256: policy.sha256,
        }
    }

    /// Removes the objects of all chunks that the log says are pruned and that may still be there.
    pub(super) async fn sweep(
        &self,
        conn: &mut PgConnection,
        now: Micros,
        retained: &mut Retained,
    ) -> Result<(), SealError> {
        for (range, erasure) in unremoved(conn).await? {
            let mut is_gone = true;
            for erasure in 0..=erasure {
                let key = Artefact::Events { range: range.clone(), erasure }.to_string();
                if self.vault.remove(&key)? == Removal::Kept {
                    retained.kept.push(key);
                    is_gone = false;
                }
            }
            self.reach(Step::Removed)?;
            if is_gone {
                sqlx::query(
                    "UPDATE pruned_chunks SET removed_at = $3 WHERE workspace = $1 AND first_seq = $2",
                )
                .bind(range.workspace.as_str())
                .bind(range.first_seq.get().cast_signed())
                .bind(now.get())
                .execute(&mut *conn)
                .await?;
            }
        }
        Ok(())
    }
}

/// The pruned chunks whose objects were not seen to be gone, each with the newest of its amendments.
async fn unremoved(conn: &mut PgConnection) -> Result<Vec<(Range, u32)>, SealError> {
    let rows = sqlx::query(
        "SELECT c.workspace, c.hour, c.first_seq, c.last_seq, coalesce((
             SELECT max(erasure) FROM amended_chunks a
             WHERE a.workspace = c.workspace AND a.first_seq = c.first_seq), 0) AS erasure
         FROM pruned_chunks p
         JOIN sealed_chunks c ON c.workspace = p.workspace AND c.first_seq = p.first_seq
         WHERE p.removed_at IS NULL ORDER BY c.workspace, c.first_seq",
    );
    let rows = rows.fetch_all(conn).await?;
    Ok(rows.iter().map(erase::range).collect::<Result<_, _>>()?)
}
