//! More events and groups than memory holds: the engine spills, and comes to the same bytes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::DataType;
use datafusion::physical_plan::ExecutionPlan;
use ledger::hash::Digest;
use ledger::names::{Origin, Workspace};
use ledger::time::Day;
use parquet::arrow::ArrowWriter;

use super::facts::SCHEMA;
use super::{Computed, Engine, FactsFile, RollupError, Task, definitions};

/// Events: half of them are calls of models, each of a prompt of its own.
const EVENTS: i64 = 480_000;
const RUN: [&str; 8] = [
    "agent_run_started",
    "llm_call",
    "tool_call",
    "llm_call",
    "error",
    "llm_call",
    "llm_call",
    "agent_run_finished",
];
/// What holds all of them.
const PLENTY: usize = 1 << 30;
/// What does not.
const LITTLE: usize = 40 << 20;

fn day() -> Day {
    Day::parse("2026-11-23").unwrap()
}

/// Facts of so many calls, some of which failed.
fn facts(directory: &Path) -> FactsFile {
    let path = directory.join("facts.parquet");
    let start = day().start().get();
    let numbers = |to: fn(i64) -> i64| Arc::new((0..EVENTS).map(to).collect::<Int64Array>());
    let texts = |to: fn(i64) -> String| {
        Arc::new((0..EVENTS).map(|n| Some(to(n))).collect::<StringViewArray>()) as ArrayRef
    };
    let columns = SCHEMA.fields().iter().map(|field| match field.name().as_str() {
        "event_type" => {
            let of_run = |n: i64| RUN.iter().cycle().nth(usize::try_from(n % 8).unwrap());
            Arc::new((0..EVENTS).map(of_run).collect::<StringViewArray>())
        }
        "session_id" => texts(|n| format!("session-{:07}", n / 400)),
        "actor_id" => texts(|n| format!("actor-{}", n / 400 % 9)),
        "tool_name" => texts(|n| format!("tool-{}", n % 31)),
        "error_type" => Arc::new(
            (0..EVENTS)
                .map(|n| (n % 3 == 0).then(|| format!("e{}", n % 7)))
                .collect::<StringViewArray>(),
        ),
        "model" => texts(|n| format!("model-{:02}", n % 50)),
        "provider" => texts(|n| format!("provider-{:05}", n * 7_919 % 2_000)),
        "prompt_hash" => texts(|n| Digest::of(&n.to_be_bytes()).to_string()),
        "success" => Arc::new((0..EVENTS).map(|n| Some(n % 3 > 0)).collect::<BooleanArray>()),
        "recorded_us" | "occurred_us" => {
            Arc::new((0..EVENTS).map(|n| start + n).collect::<Int64Array>())
        }
        _ if *field.data_type() == DataType::Int64 => numbers(|n| n * 31 % 10_007),
        "unit_cost_input" | "unit_cost_output" => {
            let costs: Decimal128Array = (0..EVENTS).map(|n| Some(i128::from(n % 977))).collect();
            Arc::new(costs.with_precision_and_scale(18, 9).unwrap())
        }
        _ => arrow::array::new_null_array(field.data_type(), usize::try_from(EVENTS).unwrap()),
    });
    let batch = RecordBatch::try_new(Arc::clone(&SCHEMA), columns.collect()).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(&path).unwrap(), Arc::clone(&SCHEMA), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    FactsFile { path, days: Some(BTreeMap::from([(day(), 0)])) }
}

/// How often the operators of a plan have spilled.
fn spills(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or(0);
    own + plan.children().into_iter().map(spills).sum::<usize>()
}

async fn compute(
    name: &str,
    memory: usize,
    spill: &Path,
    facts: &FactsFile,
) -> Result<(Computed, usize), RollupError> {
    let definition = definitions().iter().find(|known| known.name.as_str() == name).unwrap();
    let (origin, workspace) =
        (Origin::new("ledger.example.com/test").unwrap(), Workspace::new("acme").unwrap());
    let inputs = [Digest::ZERO];
    let task =
        Task { origin: &origin, workspace: &workspace, day: day(), definition, inputs: &inputs };
    let plans = Mutex::new(Vec::new());
    let engine = Engine::new(memory, 2, spill);
    let keep = |plan: &Arc<dyn ExecutionPlan>| plans.lock().unwrap().push(Arc::clone(plan));
    let files = std::slice::from_ref(facts);
    let computed = engine.compute_with(&task, files, &keep).await?;
    let spilled = plans.lock().unwrap().iter().map(spills).sum();
    Ok((computed, spilled))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_comes_to_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let spill = tempfile::tempdir().unwrap();
    let facts = facts(directory.path());
    // A file that does not tell of its days is another version's: it is not taken up again.
    assert!(FactsFile::open(&facts.path).is_none());
    for name in definitions().iter().map(|known| known.name.as_str()) {
        let at = |memory| compute(name, memory, spill.path(), &facts);
        let (whole, spilled) = at(PLENTY).await.unwrap();
        assert!(whole.rows > 0, "{name}");
        assert_eq!(spilled, 0, "{name}");
        let (pieces, spilled) = at(LITTLE).await.unwrap();
        assert!(pieces.object == whole.object, "{name}");
        // Those with a group for almost every call.
        let many = ["llm_daily", "prompts_failing_daily"].contains(&name);
        assert!(spilled > 0 || !many, "{name}");
    }
    // What joins hold does not spill: where that is too much, the day is refused, and it says why.
    let refused = compute("agent_health_daily", 256 << 10, spill.path(), &facts).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.starts_with("agent_health_daily version 1 of 2026-11-23: "), "{refused}");
    assert!(refused.contains("Resources exhausted"), "{refused}");
}
