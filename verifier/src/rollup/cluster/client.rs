//! The driver's side: one job for each rollup and day, with a deadline, and again where it fails.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::AsArray as _;
use arrow::datatypes::{Date32Type, Int64Type};
use ballista_core::execution_plans::DistributedQueryExec;
use ballista_core::extension::SessionStateExt as _;
use ballista_core::serde::protobuf::CancelJobParams;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion_proto::protobuf::LogicalPlanNode;
use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::time::Day;
use tokio::time::timeout;
use tonic::transport::Endpoint;

use super::super::engine::{BATCH_ROWS, Failure};
use super::super::object::Computed;
use super::super::plans::Plans;
use super::super::{RollupError, Task};
use super::codec::Codec;
use super::link::Link;
use super::nodes::session;
use super::scan::{Chunk, ClusterTable, Kind, NOT_AS_SEALED, Table};

/// Chunks whose days are asked for at a time.
const CHUNKS_AT_A_TIME: usize = 1_024;

/// How a cluster is driven.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Host and port of the scheduler.
    pub scheduler: (String, u16),
    /// How long a job may take.
    pub deadline: Duration,
    /// How often one is tried.
    pub attempts: u32,
    /// Tasks that the reading of a job's chunks is spread over at most.
    pub partitions: usize,
    /// How nodes speak to each other.
    pub link: Link,
}

/// A chunk that a job reads.
#[derive(Clone, Debug)]
pub struct Input {
    /// `H` of its manifest's note.
    pub note: Digest,
    /// Its manifest, which the log holds.
    pub manifest: ChunkManifest,
}

/// Computes rollups on a cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    retries: AtomicU64,
}

/// The plan that a job was made of, where there is one: it knows the job.
type Planned = Mutex<Option<Arc<dyn ExecutionPlan>>>;

impl Cluster {
    /// A cluster behind a scheduler, which is not asked yet.
    pub fn new(settings: ClusterSettings) -> Result<Self, RollupError> {
        let told = |error: super::LinkError| RollupError::Engine(error.to_string());
        settings.link.check(&settings.scheduler.0).map_err(told)?;
        Ok(Self { settings, retries: AtomicU64::new(0) })
    }

    /// How often a job was tried again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Computes a rollup from these chunks, whose order does not matter.
    pub async fn compute(
        &self,
        task: &Task<'_>,
        inputs: &[Input],
    ) -> Result<Computed, RollupError> {
        let what =
            format!("{} version {} of {}", task.definition.name, task.definition.version, task.day);
        let (from, to) = task.definition.window(task.day);
        let events = self.table(Kind::Events(from.start().get(), to.end()), inputs);
        let period = self.table(Kind::Period(task.day.get()), &[]);
        let events = &events;
        let period = &period;
        self.job(&what, async |planned: &Planned| {
            let context = self.context()?;
            register(&context, "events", events)?;
            register(&context, "period", period)?;
            let plans = Plans::new(&context, task.definition).await?;
            plans.run(task, context.task_ctx(), None, &|plan| keep(planned, plan)).await
        })
        .await
    }

    /// The days of `occurred_at` in each of these chunks; `None` where they are too many to tell.
    pub async fn days(&self, inputs: &[Input]) -> Result<Vec<Option<Vec<Day>>>, RollupError> {
        let mut all = Vec::with_capacity(inputs.len());
        for inputs in inputs.chunks(CHUNKS_AT_A_TIME) {
            let table = &self.table(Kind::Days, inputs);
            let found = self.job("the days of chunks", async |planned: &Planned| {
                let context = self.context()?;
                register(&context, "days", table)?;
                days(&context, planned).await
            });
            let mut found = found.await?;
            for (number, input) in (0_i64..).zip(inputs) {
                // A chunk holds an event at least, and each of its days once: what is read twice, or not, is no answer.
                let days = found.remove(&number);
                let days = days.filter(|days| {
                    days.as_ref()
                        .is_none_or(|days| !days.is_empty() && days.is_sorted_by(|a, b| a < b))
                });
                all.push(days.ok_or_else(|| RollupError::ClusterDiffers {
                    what: format!("the days of {}", input.manifest.object),
                    differences: "days that are missing, or stand there twice".to_owned(),
                })?);
            }
        }
        Ok(all)
    }

    fn table(&self, kind: Kind, inputs: &[Input]) -> Table {
        let chunk = |(number, input): (i64, &Input)| Chunk {
            number,
            note: input.note.to_string(),
            manifest: input.manifest.to_body(),
        };
        let chunks = (0..).zip(inputs).map(chunk).collect();
        Table { kind, chunks, partitions: self.settings.partitions.max(1) }
    }

    fn url(&self) -> String {
        let ClusterSettings { scheduler: (host, port), link, .. } = &self.settings;
        format!("{}://{host}:{port}", link.scheme())
    }

    fn context(&self) -> Result<SessionContext, Failure> {
        let config = session(&Arc::new(Codec::new(None)), &self.settings.link)
            .with_target_partitions(self.settings.partitions.max(1))
            .with_batch_size(BATCH_ROWS);
        let state = SessionStateBuilder::new().with_config(config).with_default_features().build();
        Ok(SessionContext::new_with_state(state.upgrade_for_ballista(self.url())?))
    }

    /// Runs a job within its deadline, and again where it fails: the figures of a job that is lost are never half
    /// there.
    async fn job<T>(
        &self,
        what: &str,
        run: impl AsyncFn(&Planned) -> Result<T, Failure>,
    ) -> Result<T, RollupError> {
        let ClusterSettings { deadline, attempts, .. } = &self.settings;
        let mut reason = String::new();
        for attempt in 1..=(*attempts).max(1) {
            let planned = Planned::default();
            reason = match timeout(*deadline, run(&planned)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Failure::Told(error))) => return Err(error),
                Ok(Err(Failure::Engine(error))) => {
                    let text = error.strip_backtrace();
                    if let Some(error) = not_as_sealed(&text) {
                        return Err(error);
                    }
                    if !may_pass(&error) {
                        return Err(RollupError::Engine(format!("{what}: {text}")));
                    }
                    text
                }
                Err(_) => {
                    self.cancel(&planned).await;
                    format!("it was not done within {} s", deadline.as_secs())
                }
            };
            if attempt < *attempts {
                self.retries.fetch_add(1, Ordering::Relaxed);
            }
        }
        let attempts = *attempts;
        Err(RollupError::Cluster { what: what.to_owned(), attempts, url: self.url(), reason })
    }

    /// Ends a job that nobody waits for any more. Where the scheduler does not hear that, it ends by itself.
    async fn cancel(&self, planned: &Planned) {
        let plan = planned.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(plan) = plan else { return };
        let any: &dyn Any = plan.as_ref();
        let Some(job) = any
            .downcast_ref::<DistributedQueryExec<LogicalPlanNode>>()
            .and_then(DistributedQueryExec::job_id)
        else {
            return;
        };
        let cancelled = async {
            let endpoint = Endpoint::from_shared(self.url()).ok()?;
            let endpoint = match self.settings.link.endpoint() {
                Some(secure) => secure(endpoint).ok()?,
                None => endpoint,
            };
            let mut scheduler = SchedulerGrpcClient::new(endpoint.connect().await.ok()?);
            scheduler.cancel_job(CancelJobParams { job_id: job.into() }).await.ok()
        };
        let _ = timeout(Duration::from_secs(5), cancelled).await;
    }
}

fn keep(planned: &Planned, plan: &Arc<dyn ExecutionPlan>) {
    *planned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(plan));
}

fn register(context: &SessionContext, name: &str, table: &Table) -> Result<(), Failure> {
    let table = ClusterTable::new(table.clone(), None)?;
    context.register_table(name, Arc::new(table))?;
    Ok(())
}

async fn days(
    context: &SessionContext,
    planned: &Planned,
) -> Result<BTreeMap<i64, Option<Vec<Day>>>, Failure> {
    let frame = context.sql("SELECT chunk, day FROM days ORDER BY chunk, day").await?;
    let plan = frame.create_physical_plan().await?;
    keep(planned, &plan);
    let batches = datafusion::physical_plan::collect(plan, context.task_ctx()).await?;
    let mut found: BTreeMap<i64, Option<Vec<Day>>> = BTreeMap::new();
    let wrong = || DataFusionError::Internal("days of another form".to_owned());
    for batch in batches {
        let [chunks, days] = batch.columns() else { return Err(wrong().into()) };
        let chunks = chunks.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let days = days.as_primitive_opt::<Date32Type>().ok_or_else(wrong)?;
        for (chunk, day) in chunks.values().iter().zip(days.iter()) {
            let of = found.entry(*chunk).or_insert_with(|| Some(Vec::new()));
            match (day, of.as_mut()) {
                (Some(day), Some(days)) => days.push(Day::new(day).ok_or_else(wrong)?),
                (None, _) => *of = None,
                (Some(_), None) => {}
            }
        }
    }
    Ok(found)
}

/// What an executor has said of a chunk, wherever in the scheduler's words it stands.
fn not_as_sealed(text: &str) -> Option<RollupError> {
    let (_, said) = text.split_once(NOT_AS_SEALED)?;
    let (object, reason) = said.split_once(": ")?;
    Some(RollupError::NotAsSealed { object: object.to_owned(), reason: reason.to_owned() })
}

/// Whether trying again may help: not where the plan itself is refused.
fn may_pass(error: &DataFusionError) -> bool {
    let refused = matches!(
        error,
        DataFusionError::Plan(_)
            | DataFusionError::SQL(..)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Configuration(_)
    );
    !refused
}
