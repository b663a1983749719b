//! Changes to rows by an operator who holds the seal key: objects, digests, manifests, hour notes,
//! log and checkpoint are written anew and signed, so that only what the rows say can tell.

use checks::forge::{COLUMNS, Chunk, Content, Depth, OwnedRow, alter, erase, honest};
use ledger::columns::Derived;
use ledger::verify::{Check, Finding, Report};
use proptest::prelude::{any, prop};
use proptest::sample::{Index, select};

use super::{Operator, assert_found, tampering, verify};

const DEPTHS: [Depth; 2] = [Depth::Digests, Depth::Links];

/// Where a row stands in its submission.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Alone,
    First,
    Inner,
}

/// Rows of `acme` in the golden archive: alone in its submission; first of 60; within; the last,
/// which ends its chunk too; and one in a chunk of two.
const ROWS: [(u64, Stand); 5] = [
    (69, Stand::Alone),
    (4, Stand::First),
    (10, Stand::Inner),
    (63, Stand::Inner),
    (65, Stand::Inner),
];

/// The check that tells another value in a column of the row at `seq`, and where it tells so.
/// `None` where nothing changes, or nothing in the archive can tell (see `limits`).
fn expected(
    column: &'static str,
    seq: u64,
    stand: Stand,
    depth: Depth,
) -> Option<(Check, u64, &'static str)> {
    Some(match (column, stand) {
        // The row is found under the seq that it claims.
        ("seq", _) => (Check::RowSeq, seq + 1, column),
        ("event_id", _) => (Check::EventId, seq, column),
        // The digest that is wrong may be the payload's or the recorded one: no one can say.
        ("payload" | "payload_digest", _) => (Check::PayloadDigest, seq, "payload"),
        ("link", _) if depth == Depth::Digests => (Check::RowLink, seq, column),
        // Made to follow again: nothing has changed.
        ("link", _) => return None,
        ("recorded_at", Stand::Alone) if depth == Depth::Digests => (Check::RowLink, seq, "link"),
        ("recorded_at", Stand::Alone) => return None,
        ("submission_index", _) => (Check::SubmissionCut, seq, column),
        ("submission_count", Stand::Alone) => (Check::SubmissionCut, seq, column),
        ("submission_hash", Stand::Alone) => (Check::SubmissionHash, seq, column),
        // The statement that was signed is another one, or the key is.
        ("counter" | "public_key" | "signature", Stand::Alone) => {
            (Check::Signature, seq, "signature")
        }
        // The rows of a submission agree with its first: where that is the one that was changed,
        // the second tells.
        (
            "recorded_at" | "submission_hash" | "submission_count" | "counter" | "public_key"
            | "signature",
            _,
        ) => (Check::SubmissionMixed, if stand == Stand::First { seq + 1 } else { seq }, column),
        _ => (Check::DerivedColumn, seq, column),
    })
}

/// A finding of one of these checks is at a chunk's object.
#[track_caller]
fn assert_object(report: &Report, checks: &[Check], what: &str) {
    let found = tampering(report, what);
    let here =
        |finding: &&Finding| checks.contains(&finding.check) && finding.place.object.is_some();
    assert!(found.iter().any(here), "{what}: no {checks:?} in {found:#?}");
}

#[test]
fn another_value_is_found_in_every_column() {
    let operator = Operator::new();
    for ((seq, stand), depth) in ROWS.into_iter().flat_map(|row| DEPTHS.map(|depth| (row, depth))) {
        for column in COLUMNS {
            let Some((check, found_seq, found_column)) = expected(column, seq, stand, depth) else {
                continue;
            };
            let report =
                operator.after(depth, |content| alter(content.row_mut("acme", seq), column));
            let what = format!("{column} of seq {seq}, {depth:?}");
            // A key changed at random is often no key at all, which is told first.
            if tampering(&report, &what).iter().any(|f| f.check == Check::PublicKey) {
                assert_eq!(column, "public_key");
                assert_found(&report, Check::PublicKey, seq, column, &what);
            } else if (column, seq, depth) == ("recorded_at", 65, Depth::Links) {
                // Recorded in the last microsecond of its hour: the manifest leaves it too.
                let by = |finding: &&Finding| {
                    finding.check == Check::ManifestMalformed && finding.place.log_index == Some(1)
                };
                assert!(tampering(&report, &what).iter().any(by), "{what}");
            } else if (column, depth) == ("seq", Depth::Links) && [63, 65].contains(&seq) {
                // The manifest ends with its last row, and so spans a seq more than it has rows.
                assert_object(&report, &[Check::RowCount], &what);
            } else {
                assert_found(&report, check, found_seq, found_column, &what);
            }
        }
    }
}

#[test]
fn a_value_that_is_taken_away_is_found_in_every_column() {
    let operator = Operator::new();
    let mut covered = Vec::new();
    for (seq, depth) in (1..=70).flat_map(|seq| DEPTHS.map(|depth| (seq, depth))) {
        for column in COLUMNS {
            // One row a column is enough, but every column that has a value somewhere.
            let mut row = operator.content.clone().row_mut("acme", seq).clone();
            if !erase(&mut row, column) || covered.contains(&(column, depth)) {
                continue;
            }
            covered.push((column, depth));
            let report = operator.after(depth, |content| *content.row_mut("acme", seq) = row);
            let check = if column == "payload" { Check::Withheld } else { Check::DerivedColumn };
            let what = format!("{column} of seq {seq} taken away, {depth:?}");
            if column == "payload" && seq == 1 {
                assert_found(&report, Check::LedgerWithheld, seq, column, &what);
            } else {
                assert_found(&report, check, seq, column, &what);
            }
        }
    }
    assert!(covered.len() > 2 * 10, "the golden archive has values in most columns: {covered:?}");
}

/// As an erasure would leave it, but no entry of the chain allows it.
#[test]
fn a_payload_that_is_withheld_without_leave_is_found() {
    let operator = Operator::new();
    for (seq, _) in ROWS {
        let report = operator.after(Depth::Links, |content| {
            let OwnedRow { payload, row } = content.row_mut("acme", seq);
            *payload = None;
            row.derived = Derived::withheld(row.recorded_at);
        });
        assert_found(&report, Check::Withheld, seq, "payload", &format!("seq {seq} withheld"));
        assert_eq!(tampering(&report, "withheld").len(), 1, "{:#?}", report.findings);
    }
}

/// What an operator may do with a row, other than change it.
type Act = fn(&mut Chunk, usize);

const DROP: Act = |chunk, at| drop(chunk.rows.remove(at));
const DOUBLE: Act = |chunk, at| chunk.rows.insert(at, chunk.rows[at].clone());
const SWAP: Act = |chunk, at| chunk.rows.swap(at, at + 1);

/// Does it to the row of `acme` at a seq.
fn act(content: &mut Content, act: Act, seq: u64) {
    for chunk in content.chunks_mut().filter(|c| c.manifest.workspace.as_str() == "acme") {
        if let Some(at) = chunk.rows.iter().position(|row| row.row.seq == seq) {
            return act(chunk, at);
        }
    }
    panic!("no row {seq}");
}

#[test]
fn a_dropped_doubled_or_swapped_row_leaves_seqs_that_do_not_follow() {
    let operator = Operator::new();
    for depth in DEPTHS {
        for seq in [1, 2, 4, 10, 62, 64, 66, 69] {
            for (name, change) in [("drop", DROP), ("double", DOUBLE), ("swap", SWAP)] {
                let report = operator.after(depth, |content| act(content, change, seq));
                // A row is not where the one before says, or the manifest spans more or fewer seqs
                // than it has rows, or starts elsewhere than the one before ended.
                let follow = [Check::RowSeq, Check::RowCount, Check::ManifestSeq];
                assert_object(&report, &follow, &format!("{name} seq {seq}, {depth:?}"));
            }
        }
    }
}

/// The seqs follow again: within a submission its own count tells, between submissions the ids,
/// counters and times.
#[test]
fn a_dropped_doubled_or_swapped_row_is_found_when_all_are_numbered_anew() {
    let operator = Operator::new();
    let cases: [(&str, Act, u64, Check, u64, &str); 9] = [
        ("drop", DROP, 10, Check::SubmissionCut, 10, "submission_index"),
        ("drop", DROP, 63, Check::SubmissionCut, 4, "submission_count"),
        ("drop", DROP, 2, Check::KeyRule, 3, "public_key"),
        ("double", DOUBLE, 10, Check::SubmissionCut, 11, "submission_index"),
        ("double", DOUBLE, 69, Check::EventTwice, 70, "event_id"),
        ("double", DOUBLE, 69, Check::CounterTwice, 70, "counter"),
        ("swap", SWAP, 10, Check::SubmissionCut, 10, "submission_index"),
        ("swap", SWAP, 69, Check::RowTime, 70, "recorded_at"),
        ("swap", SWAP, 1, Check::KeyRule, 1, "public_key"),
    ];
    for (name, change, seq, check, found_seq, column) in cases {
        let report = operator.after(Depth::Links, |content| {
            act(content, change, seq);
            content.renumber();
        });
        assert_found(&report, check, found_seq, column, &format!("{name} seq {seq}, renumbered"));
    }
}

/// As above, on any row of any archive: what is found is within its submission, or next to it.
#[test]
fn a_changed_value_is_found_in_any_archive() {
    let changes = (any::<u64>(), any::<Index>(), select(&COLUMNS[..]), prop::bool::ANY);
    super::runner(100)
        .run(&changes, |(seed, index, column, deep)| {
            let honest = honest(seed);
            let depth = if deep { Depth::Links } else { Depth::Digests };
            let mut content = honest.content.clone();
            let mut rows: Vec<_> = content
                .chunks_mut()
                .flat_map(|chunk| {
                    let workspace = chunk.manifest.workspace.clone();
                    chunk.rows.iter_mut().map(move |row| (workspace.clone(), row))
                })
                .collect();
            let at = index.index(rows.len());
            let (workspace, row) = &mut rows[at];
            let (workspace, before) = (workspace.clone(), row.row.clone());
            let alone = before.submission_count == 1;
            let stand = if alone { Stand::Alone } else { Stand::Inner };
            if expected(column, before.seq, stand, depth).is_none() {
                return Ok(());
            }
            alter(row, column);
            content.settle(depth, &honest.seal);
            let report = verify(&content.seal(&honest.seal), &honest.trust);
            let what = format!("seed {seed}: {column} of {workspace} {}, {depth:?}", before.seq);
            let first = before.seq - u64::from(before.submission_index);
            let near = first..=first + u64::from(before.submission_count);
            let found = tampering(&report, &what);
            let located = found.iter().any(|finding| {
                finding.place.workspace.as_ref() == Some(&workspace)
                    && ([Check::RowCount, Check::ManifestSeq].contains(&finding.check)
                        || finding.place.seq.is_some_and(|seq| near.contains(&seq)))
            });
            assert!(located, "{what}: {found:#?}");
            Ok(())
        })
        .unwrap();
}
