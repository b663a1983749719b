//! A ledger whose days pass by hand.

use std::sync::Arc;

use bytes::Bytes;
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::submission::Submission;
use checks::worker::Worker;
use ingest::accept::{self, Form, Head, Limits, Purpose, accept};
use ingest::chain::plan::{Refused, Verdict};
use ingest::chain::{Care, Committer, Days, NoProbe};
use ingest::store::writers;
use ledger::names::Workspace;
use ledger::time::Micros;
use tempfile::TempDir;

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;
/// Room for filters that every test fits in.
pub const ROOM: usize = 1 << 20;

pub struct World {
    pub rig: Rig,
    pub clock: HandClock,
    pub founder: Worker,
    pub committer: Committer,
    _directory: TempDir,
}

/// Noon of the `n`th day.
pub fn noon(n: i64) -> Micros {
    Micros::new((20_000 + n) * DAY + DAY / 2).unwrap()
}

impl World {
    /// An open workspace at noon of day 0.
    pub async fn new(room: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let postgres = Postgres::start().unwrap();
        let rig = Rig::new(directory.path(), "ledger.example.com/days", postgres).await.unwrap();
        let workspace = Workspace::new("acme").unwrap();
        let mut founder = Worker::new(&rig.origin, &workspace, "founder", 7);
        let clock = HandClock::new(noon(0));
        let committer = Self::committer(&rig, &clock, room);
        let opening = founder.open_workspace(noon(0));
        let world = Self { rig, clock, founder, committer, _directory: directory };
        world.record(&[&opening]).await[0].as_ref().unwrap();
        world
    }

    fn committer(rig: &Rig, clock: &HandClock, room: usize) -> Committer {
        Committer {
            origin: rig.origin.clone(),
            pool: writers(&rig.postgres.url(), 2).unwrap(),
            clock: Arc::new(clock.clone()),
            probe: Arc::new(NoProbe),
            metrics: Arc::default(),
            days: Arc::new(Days::new(room)),
            max_keys: 10_000,
            seen: Arc::default(),
        }
    }

    /// Another process on the same database.
    pub fn another(&self, room: usize) -> Committer {
        Self::committer(&self.rig, &self.clock, room)
    }

    /// Moves the fence to the start of the `n`th day, as sealing the day before does.
    pub async fn close_days_before(&self, n: i64) {
        let start = noon(n).get() - DAY / 2;
        sqlx::query("UPDATE fence SET not_before = $1")
            .bind(start)
            .execute(&self.rig.pool)
            .await
            .unwrap();
    }

    /// Records a group as the service does.
    pub async fn record(&self, group: &[&Submission]) -> Vec<Result<Verdict, Refused>> {
        self.try_record(&self.committer, group, Care::Index).await.0
    }

    /// Records a group by this process, and says how much care it took.
    pub async fn try_record(
        &self,
        committer: &Committer,
        group: &[&Submission],
        care: Care,
    ) -> (Vec<Result<Verdict, Refused>>, Care) {
        let group: Vec<_> = group.iter().map(|submission| self.accepted(submission)).collect();
        committer.record(Arc::from(group), care).await.unwrap()
    }

    pub fn accepted(&self, submission: &Submission) -> accept::Submission {
        let (purpose, form) = match submission.route {
            checks::submission::Route::Workspaces => (Purpose::Create, Form::Bare),
            checks::submission::Route::Lines => {
                (Purpose::Record(submission.workspace.clone()), Form::Ndjson)
            }
            checks::submission::Route::Array => {
                (Purpose::Record(submission.workspace.clone()), Form::Json)
            }
        };
        let head = Head {
            public_key: submission.public_key,
            signature: submission.signature,
            counter: submission.counter,
        };
        let body = Bytes::from(submission.body());
        accept(&self.rig.origin, &purpose, head, form, &body, &Limits::default()).unwrap()
    }

    /// The entries of every day, by the day's number.
    pub async fn entries_by_day(&self) -> Vec<(i64, i64)> {
        sqlx::query_as(
            "SELECT recorded_at / 86400000000 - 20000, count(*) FROM entries GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(&self.rig.pool)
        .await
        .unwrap()
    }
}
