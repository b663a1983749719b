//! The agents' part of the demo: three workspaces at work for three hours and a bit.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::names::{Origin, Workspace};
use ledger::time::{HOUR, Micros};
use tokio::task::JoinSet;

use crate::demo::indented;
use crate::driver::{Answer, Client};
use crate::history::History;
use crate::rig::{Failure, HandClock, Rig};
use crate::service::base;
use crate::submission::Submission;
use crate::worker::Worker;

/// The workspace whose archive is tampered with, and one of whose agents loses a submission.
pub const VICTIM: &str = "billing";
/// Workspaces, and how many agents each has.
const WORKSPACES: [(&str, u64); 3] = [("support", 3), (VICTIM, 2), ("travel", 2)];
/// Hours that have closed; one more has not.
const CLOSED_HOURS: u64 = 3;
/// Events in a submission.
const BATCH: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves over HTTP, and lets agents submit about so many events, up to `now`.
pub async fn submit(
    rig: &Rig,
    now: Micros,
    events: u64,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let (mut founders, mut agents) = cast(&rig.origin)?;
    let rounds = rounds(now, events, u64::try_from(agents.len())?);
    let opening = *rounds.first().ok_or("no time to simulate")?;
    let clock = HandClock::new(opening);
    let service = rig.serve(clock.clone()).await?;
    let sender = Sender {
        client: Client::new(&base(service.local_addr()), PATIENCE)?,
        history: History::open(&rig.directory.join("history.ndjson"))?,
        receipts: rig.directory.join("receipts"),
    };
    writeln!(out, "   serving on {}", base(service.local_addr()))?;
    open(rig, &sender, &mut founders, &agents, opening).await?;
    let (workspaces, keys) = (founders.len(), agents.len());
    writeln!(out, "   {workspaces} workspaces opened, the keys of {keys} agents registered")?;

    let start = Instant::now();
    let mut receipts = 0;
    for (round, now) in rounds.iter().enumerate() {
        clock.reach(*now);
        let mut sending = JoinSet::new();
        for agent in &mut agents {
            let submission = agent.work(BATCH, *now);
            // One submission is signed and counted, but never arrives.
            if round != rounds.len() / 2 || agent.actor != lossy_agent() {
                let (sender, actor) = (sender.clone(), agent.actor.clone());
                sending.spawn(async move { sender.send(&actor, &submission).await });
            }
        }
        while let Some(sent) = sending.join_next().await {
            sent??;
            receipts += 1;
        }
    }
    service.shutdown().await;
    let (events, seconds) = (receipts * BATCH, start.elapsed().as_secs_f64());
    writeln!(out, "   {events} events in {receipts} signed submissions; {seconds:.1} s")?;
    writeln!(out, "   one more submission of {} was counted, but lost on its way", lossy_agent())?;
    let receipt = fs::read_to_string(sender.receipt(VICTIM, &lossy_agent(), 1))?;
    writeln!(out, "\n   Each was answered with a receipt, which the agent keeps:\n")?;
    writeln!(out, "{}", indented(&indented(&receipt)))?;
    Ok(())
}

fn lossy_agent() -> String {
    format!("{VICTIM}-agent-1")
}

/// Founders and agents of all workspaces.
fn cast(origin: &Origin) -> Result<(Vec<Worker>, Vec<Worker>), Failure> {
    let (mut founders, mut agents) = (Vec::new(), Vec::new());
    for ((name, count), seed) in WORKSPACES.into_iter().zip(1_000_u64..) {
        let workspace = Workspace::new(name)?;
        founders.push(Worker::new(origin, &workspace, "founder", seed));
        for n in 1..=count {
            let actor = format!("{name}-agent-{n}");
            agents.push(Worker::new(origin, &workspace, &actor, seed * 100 + n));
        }
    }
    Ok((founders, agents))
}

/// The times at which every agent submits: spread over the closed hours, and over the one that has
/// not closed as far as it has come.
fn rounds(now: Micros, events: u64, agents: u64) -> Vec<Micros> {
    let an_hour = (events / BATCH / agents / (CLOSED_HOURS + 1)).max(2);
    let open = now.hour().start();
    let mut rounds = Vec::new();
    for hours_ago in (0..=CLOSED_HOURS).rev() {
        let start = open.get() - hours_ago.cast_signed() * HOUR;
        let span = if hours_ago == 0 { now.get() - open.get() } else { HOUR };
        for n in 0..an_hour.cast_signed() {
            rounds.extend(Micros::new(start + span / an_hour.cast_signed() * n));
        }
    }
    rounds
}

/// Opens the workspaces, registers the agents, and tells the auditor the root keys.
async fn open(
    rig: &Rig,
    sender: &Sender,
    founders: &mut [Worker],
    agents: &[Worker],
    now: Micros,
) -> Result<(), Failure> {
    for founder in founders.iter_mut() {
        sender.send("founder", &founder.open_workspace(now)).await?;
        let workspace = founder.workspace.clone();
        for agent in agents.iter().filter(|agent| agent.workspace == workspace) {
            sender.send("founder", &founder.register(agent, now)).await?;
        }
    }
    for worker in founders.iter().chain(agents) {
        let name = format!("keys/{}-{}.pem", worker.workspace, worker.actor);
        write_key(&rig.directory.join(name), &worker.key.to_pem()?)?;
    }
    rig.write_trust(founders)
}

fn write_key(path: &Path, pem: &str) -> std::io::Result<()> {
    let mut file = fs::File::options().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(pem.as_bytes())
}

/// Sends submissions, and keeps the receipts.
#[derive(Clone)]
struct Sender {
    client: Client,
    history: History,
    receipts: PathBuf,
}

impl Sender {
    fn receipt(&self, workspace: &str, actor: &str, counter: u64) -> PathBuf {
        self.receipts.join(workspace).join(format!("{actor}-{counter:05}.note"))
    }

    async fn send(&self, actor: &str, submission: &Submission) -> Result<(), Failure> {
        match self.client.deliver(&self.history, submission, PATIENCE).await? {
            Answer::Receipt(receipt) => {
                let workspace = submission.workspace.as_str();
                let path = self.receipt(workspace, actor, submission.counter.get());
                fs::create_dir_all(self.receipts.join(workspace))?;
                Ok(fs::write(path, receipt)?)
            }
            answer => Err(format!("a submission of {actor} was not recorded: {answer:?}").into()),
        }
    }
}
