//! An auditor with the archive in memory: answers every need, in any order.

use ledger::chain::RESERVED;
use ledger::chunk::ChunkManifest;
use ledger::hash::Digest;
use ledger::verify::{
    Audit, Check, ChunkCheck, ChunkOutcome, Depth, Finding, Need, Place, Policy, Report, Severity,
    Trust,
};

use crate::forge::{Archive, Lie, build};
use crate::plan::{honest, trust};

/// Audits an archive. `pick` says which of so many open needs is answered next.
pub fn audit(
    archive: &Archive,
    trust: Trust,
    policy: Policy,
    pick: impl FnMut(usize) -> usize,
) -> Report {
    let mut audit = Audit::new(trust, policy);
    run(&mut audit, archive, usize::MAX, pick);
    assert!(audit.is_done());
    audit.finish()
}

/// Answers up to so many needs, and gives those that chunks' rows were asked for by.
pub fn run(
    audit: &mut Audit,
    archive: &Archive,
    mut answers: usize,
    mut pick: impl FnMut(usize) -> usize,
) -> Vec<(Depth, String)> {
    let mut chunks = Vec::new();
    loop {
        let mut open: Vec<Need> = std::iter::from_fn(|| audit.need()).collect();
        if open.is_empty() || answers == 0 {
            return chunks;
        }
        while !open.is_empty() && answers > 0 {
            answers -= 1;
            let need = open.swap_remove(pick(open.len()));
            if let Need::Chunk { manifest, depth, .. } = &need {
                chunks.push((*depth, manifest.object.clone()));
            }
            answer(audit, archive, &need);
        }
    }
}

fn answer(audit: &mut Audit, archive: &Archive, need: &Need) {
    match need {
        Need::Listing if archive.unreadable.contains("") => audit.unreadable(need, "refused"),
        Need::Listing => audit.listing(archive.objects.keys().cloned()),
        Need::Object(artefact) => {
            let key = artefact.to_string();
            if archive.unreadable.contains(&key) {
                audit.unreadable(need, "refused");
            } else {
                audit.object(artefact, archive.objects.get(&key).map(Vec::as_slice));
            }
        }
        Need::Chunk { index, manifest, depth } => {
            if archive.unreadable.contains(&manifest.object) {
                audit.unreadable(need, "refused");
            } else {
                audit.chunk(*index, check(archive, manifest, *depth));
            }
        }
    }
}

fn check(archive: &Archive, manifest: &ChunkManifest, depth: Depth) -> ChunkOutcome {
    let broken = |check| ChunkOutcome::broken(Finding::new(check, Place::chunk(manifest)));
    let Some(bytes) = archive.objects.get(&manifest.object) else {
        return broken(Check::ObjectMissing);
    };
    let mut check = match ChunkCheck::open(manifest, bytes) {
        Ok(check) => check,
        Err(outcome) => return outcome,
    };
    let Some((_, rows)) = archive.rows.get(&Digest::of(bytes)) else {
        return broken(Check::ObjectUnreadable);
    };
    if depth == Depth::Keys && rows.iter().all(|row| !row.derived.event_type.starts_with(RESERVED))
    {
        return ChunkOutcome::outside(check);
    }
    rows.iter().for_each(|row| check.row(row));
    check.finish()
}

/// Builds the honest ledger with one lie, and audits it.
pub fn audit_lie(lie: &Lie) -> Report {
    let (mut trust, mut policy) = (trust(), Policy::default());
    if let Lie::Auditor(change) = lie {
        change(&mut trust, &mut policy);
    }
    if let Lie::Seals(_, change) = lie {
        change(&mut trust);
    }
    audit(&build(honest(), lie), trust, policy, |_| 0)
}

/// The key of a rollup's object or note without the part of a digest that is in it; any other key as it is.
pub fn without_digest(key: &str) -> String {
    let digest = |rest: &str| rest.find('.') == Some(16);
    match key.rsplit_once('-') {
        Some((head, rest)) if key.starts_with("rollups/") && digest(rest) => {
            format!("{head}{}", rest.get(16..).unwrap())
        }
        _ => key.to_owned(),
    }
}

/// A finding in one line: its id, and its place as shortly as it can be said.
pub fn line(finding: &Finding) -> String {
    let Place { object, log_index, workspace, hour, seq, column } = &finding.place;
    let short = |key: &String| {
        let key = without_digest(key)
            .replace("date=2026-11-23/", "")
            .replace("workspace=", "")
            .replace("hour=", "");
        key.replace("000000000000000000", "")
    };
    let mut words = vec![finding.check.id().to_owned()];
    words.extend(log_index.map(|index| format!("leaf={index}")));
    words.extend(object.as_ref().map(short));
    // An object's key says its workspace and hour.
    if object.is_none() {
        words.extend(workspace.as_ref().map(ToString::to_string));
        words.extend(hour.map(|hour| format!("hour={:02}", hour.of_day())));
    }
    words.extend(seq.map(|seq| format!("seq={seq}")));
    words.extend(column.map(ToString::to_string));
    words.join(" ")
}

/// Every finding but notices, gravest first.
pub fn lines(report: &Report) -> Vec<String> {
    let grave = |finding: &&Finding| finding.check.severity() != Severity::Notice;
    report.findings.iter().filter(grave).map(line).collect()
}
