//! The chunks of a shard: checked as those of a whole archive are, and kept in a part.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use ledger::chunk::ChunkManifest;
use ledger::layout::Artefact;
use ledger::verify::{Audit, Check, Finding, Need, Place, Policy, Trust};

use super::{Answer, Progress, Sink, drive, take};
use crate::part::{PartWriter, Parts, Shard};
use crate::store::ArchiveSource;

/// What checking a shard came to: no verdict, which only all chunks together have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardReport {
    /// Chunks in the part.
    pub chunks: u64,
    /// Chunks of the archive, as far as the log could be read.
    pub of: u64,
    /// Events that were checked.
    pub events: u64,
    /// What was found of the log and of these chunks.
    pub findings: Vec<Finding>,
    /// Whether it was ended before it was done.
    pub ended: bool,
}

/// Checks the chunks of a shard, and keeps in a part what they come to, in the order of the log: the same chunks
/// give the same bytes.
pub fn check_shard<S>(
    source: &S,
    trust: Trust,
    policy: Policy,
    shard: Shard,
    part: PartWriter,
    progress: &dyn Progress,
) -> io::Result<ShardReport>
where
    S: ArchiveSource + Sync,
{
    let mut audit = Audit::new(trust, policy);
    let mut to_part = ToPart {
        shard,
        part,
        progress,
        asked: VecDeque::new(),
        answers: BTreeMap::new(),
        left: None,
        report: ShardReport::default(),
        failed: Ok(()),
    };
    drive(source, &mut audit, &Parts::default(), &mut to_part, progress);
    let ToPart { part, mut report, failed, .. } = to_part;
    failed?;
    report.ended = !progress.go_on();
    report.findings.splice(..0, audit.found_so_far());
    report.chunks = part.finish()?;
    Ok(report)
}

/// What the chunks of a shard come to goes to a part; the audit hears of the log alone.
struct ToPart<'a> {
    shard: Shard,
    part: PartWriter,
    progress: &'a dyn Progress,
    /// Chunks that are not written yet, in the order of the log; and what is known of them.
    asked: VecDeque<usize>,
    answers: BTreeMap<usize, Option<(Arc<ChunkManifest>, String)>>,
    /// Chunks of the shard that are not checked yet, and the events of all.
    left: Option<(usize, u64)>,
    report: ShardReport,
    failed: io::Result<()>,
}

impl ToPart<'_> {
    /// Counts what there is to do, once the log is read.
    fn count(&mut self, audit: &Audit, first: &ChunkManifest) {
        let all = audit.chunks_to_come().chain([first]);
        let (mut left, mut events, mut of) = (0_usize, 0_u64, 0_u64);
        for manifest in all {
            of = of.saturating_add(1);
            if self.shard.holds(manifest) {
                left = left.saturating_add(1);
                events = events.saturating_add(manifest.rows());
            }
        }
        self.left = Some((left, events));
        self.report.of = of;
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(index) = self.asked.front()
            && let Some(answer) = self.answers.remove(index)
        {
            self.asked.pop_front();
            if let Some((manifest, outcome)) = answer {
                self.part.push(&manifest, &outcome)?;
            }
        }
        Ok(())
    }
}

impl Sink for ToPart<'_> {
    fn wants(&mut self, audit: &Audit, need: &Need) -> bool {
        match need {
            // Besides chunks there is the log. What else the log names, whoever takes the parts together looks at.
            Need::Listing | Need::Object(Artefact::Checkpoint | Artefact::Bundle { .. }) => true,
            Need::Object(_) => false,
            Need::Chunk { index, manifest, .. } => {
                if self.left.is_none() {
                    self.count(audit, manifest);
                }
                let holds = self.shard.holds(manifest);
                if holds {
                    self.asked.push_back(*index);
                }
                holds
            }
        }
    }

    fn take(&mut self, audit: &mut Audit, answer: Answer) {
        let (index, kept) = match answer {
            Answer::Chunk(index, manifest, outcome) => {
                self.report.events = self.report.events.saturating_add(outcome.rows);
                let (left, of) = self.left.get_or_insert((1, 0));
                *left = left.saturating_sub(1);
                self.progress.chunk(outcome.rows, *of, *left);
                let line = outcome.to_line();
                self.report.findings.extend(outcome.findings);
                (index, line.map(|line| (manifest, line)))
            }
            Answer::Unreadable(Need::Chunk { index, manifest, .. }, error) => {
                let finding = Finding::new(Check::Unreadable, Place::chunk(&manifest));
                self.report.findings.push(finding.because(error));
                (index, None)
            }
            other => return take(audit, other, self.progress),
        };
        self.answers.insert(index, kept);
        if self.failed.is_ok() {
            self.failed = self.write();
        }
    }
}
