//! The seal key changes, is stolen, is revoked: who signs what, on which side of the change, and what
//! the auditor knows of it (FAULTS row 24).
//!
//! Leaf 0 to 6 of the honest log are two chunks of hour 16, its note, hour 17, two chunks of hour 18,
//! its note. What a change comes before moves one on.

use ledger::line::Entrance;
use ledger::merkle::Frontier;
use ledger::note::VerifierKey;
use ledger::succession::{Cutoff, Revocation, Succession};
use ledger::verify::{Policy, Report, Trust, Verdict};

use crate::driver::{audit, lines};
use crate::forge::{Lie, build};
use crate::lies::{Case, case};
use crate::plan::{Change, SEAL, Seals, honest, origin, seal_of, trust};

const SECOND: u8 = 110;
const THIRD: u8 = 111;
const THIEF: u8 = 120;

fn vkey(seed: u8) -> VerifierKey {
    seal_of(seed).verifier().clone()
}

fn succession(old: u8, new: u8) -> Succession {
    let (old_key, new_key) = (vkey(old), vkey(new));
    Succession { origin: origin(), old_key, new_key, reason: "yearly".to_owned() }
}

fn behind(tree: &Frontier) -> Cutoff {
    Cutoff { size: tree.size(), root: tree.root() }
}

fn revocation(key: u8, cutoff: Cutoff, new: u8) -> Revocation {
    let reason = "stolen".to_owned();
    Revocation { origin: origin(), key: vkey(key), cutoff, new_key: vkey(new), reason }
}

/// The second key takes over from the first.
fn second(signers: &[u8]) -> Change {
    let body = |_: &Frontier| succession(SEAL, SECOND).to_body();
    Change { body, by: signers.to_vec(), then: SECOND }
}

/// The third key takes over from the second.
fn third() -> Change {
    let body = |_: &Frontier| succession(SECOND, THIRD).to_body();
    Change { body, by: vec![SECOND, THIRD], then: THIRD }
}

/// The first key is revoked, and the second takes its place.
fn revoked() -> Change {
    let body = |tree: &Frontier| revocation(SEAL, behind(tree), SECOND).to_body();
    Change { body, by: vec![SECOND], then: SECOND }
}

/// The thief writes a log of his own: his key takes over.
fn stolen() -> Change {
    let body = |_: &Frontier| succession(SEAL, THIEF).to_body();
    Change { body, by: vec![SEAL, THIEF], then: THIEF }
}

fn rotate(seals: &mut Seals) {
    seals.changes.push((4, second(&[SEAL, SECOND])));
}

/// The cut-off at the end of the first key's time, as the log above has it.
fn cutoff() -> Cutoff {
    let rotated = Lie::Seals(rotate, |_| {});
    let report = audit(&build(honest(), &rotated), trust(), Policy::default(), |_| 0);
    report.seal_keys.unwrap().end_of(&vkey(SEAL)).unwrap()
}

fn knows_second(trust: &mut Trust) {
    trust.seal_keys = vec![vkey(SECOND)];
}

pub fn cases() -> Vec<Case> {
    [changes(), revocations(), auditors()].into_iter().flatten().collect()
}

fn changes() -> Vec<Case> {
    let nothing = |_: &mut Trust| {};
    vec![
        case(
            "a leaf before a succession, signed by the new key",
            Lie::Seals(
                |seals| {
                    rotate(seals);
                    seals.leaves.push((3, SECOND));
                },
                nothing,
            ),
            &["T010 leaf=3"],
        ),
        case(
            "a leaf after a succession, signed by the old key",
            Lie::Seals(
                |seals| {
                    rotate(seals);
                    seals.leaves.push((5, SEAL));
                },
                nothing,
            ),
            &["T010 leaf=5"],
        ),
        case(
            "the first leaf, signed by the new key, for an auditor who has only that",
            Lie::Seals(
                |seals| {
                    rotate(seals);
                    seals.leaves.push((1, SECOND));
                },
                knows_second,
            ),
            &["T010 leaf=1"],
        ),
        case(
            "a checkpoint after a succession, signed by the old key",
            Lie::Seals(
                |seals| {
                    seals.changes.push((7, second(&[SEAL, SECOND])));
                    seals.checkpoint = Some(SEAL);
                },
                nothing,
            ),
            &["T003 log/checkpoint"],
        ),
        case(
            "a checkpoint before a succession, signed by the new key",
            Lie::Seals(|seals| seals.checkpoint = Some(SECOND), nothing),
            &["T003 log/checkpoint"],
        ),
        case(
            "a succession without the old key's signature",
            Lie::Seals(|seals| seals.changes.push((7, second(&[SECOND]))), nothing),
            &["T003 log/checkpoint", "T010 leaf=7"],
        ),
        case(
            "a succession without the new key's signature",
            Lie::Seals(|seals| seals.changes.push((7, second(&[SEAL]))), nothing),
            &["T003 log/checkpoint", "T010 leaf=7"],
        ),
        case(
            "a succession from a key that is not in force",
            Lie::Seals(
                |seals| {
                    let change = Change { then: SEAL, ..third() };
                    seals.changes.push((7, change));
                },
                nothing,
            ),
            &["T013 leaf=7"],
        ),
        case(
            "a succession back to a key that was in force",
            Lie::Seals(
                |seals| {
                    rotate(seals);
                    let body = |_: &Frontier| succession(SECOND, SEAL).to_body();
                    let by = vec![SECOND, SEAL];
                    seals.changes.push((8, Change { body, by, then: SECOND }));
                },
                nothing,
            ),
            &["T013 leaf=8"],
        ),
        case(
            "a succession with a line too many",
            Lie::Seals(
                |seals| {
                    let body =
                        |_: &Frontier| format!("{}more 1\n", succession(SEAL, SECOND).to_body());
                    let by = vec![SEAL, SECOND];
                    seals.changes.push((7, Change { body, by, then: SEAL }));
                },
                nothing,
            ),
            &["T012 leaf=7"],
        ),
    ]
}

fn revocations() -> Vec<Case> {
    vec![
        case(
            "a leaf that a revoked key has signed behind its cut-off",
            Lie::Seals(
                |seals| {
                    seals.changes.push((4, revoked()));
                    seals.leaves.push((5, SEAL));
                },
                knows_second,
            ),
            &["T014 leaf=5"],
        ),
        case(
            "a checkpoint that a revoked key has signed behind its cut-off",
            Lie::Seals(
                |seals| {
                    seals.changes.push((7, revoked()));
                    seals.checkpoint = Some(SEAL);
                },
                knows_second,
            ),
            &["T014 log/checkpoint"],
        ),
        case(
            "a revocation whose cut-off is one leaf off",
            Lie::Seals(
                |seals| {
                    let body = |tree: &Frontier| {
                        let cutoff = Cutoff { size: tree.size() - 1, root: tree.root() };
                        revocation(SEAL, cutoff, SECOND).to_body()
                    };
                    seals.changes.push((7, Change { body, by: vec![SECOND], then: SEAL }));
                },
                |_| {},
            ),
            &["T013 leaf=7"],
        ),
        case(
            "a revocation of a key that was succeeded, by a key that is not in force",
            Lie::Seals(
                |seals| {
                    rotate(seals);
                    let body = |_: &Frontier| revocation(SEAL, cutoff(), THIEF).to_body();
                    seals.changes.push((8, Change { body, by: vec![THIEF], then: SECOND }));
                },
                knows_second,
            ),
            &["T013 leaf=8"],
        ),
        case(
            "a revocation that names a key which nobody knows",
            Lie::Seals(|seals| seals.changes.push((7, revoked())), |_| {}),
            &["T003 log/checkpoint"],
        ),
        case(
            "a succession by a key that was stolen, says the log, and the auditor has no other",
            Lie::Seals(
                |seals| {
                    rotate(seals);
                    let body = |_: &Frontier| revocation(SEAL, cutoff(), SECOND).to_body();
                    seals.changes.push((8, Change { body, by: vec![SECOND], then: SECOND }));
                },
                |_| {},
            ),
            &["T105 log/checkpoint"],
        ),
    ]
}

/// What the auditor knows and the log does not say.
fn auditors() -> Vec<Case> {
    let knows = |trust: &mut Trust| trust.revoked.push((vkey(SEAL), cutoff()));
    vec![
        case(
            "a thief's own log, which starts where the key was stolen",
            Lie::Seals(|seals| seals.changes.push((5, stolen())), knows),
            &["T014 leaf=5", "T015 leaf=4"],
        ),
        case(
            "a thief's log with the same leaf as its cut-off, and one more",
            Lie::Seals(|seals| seals.checkpoint = Some(SEAL), knows),
            &["T014 leaf=5", "T014 leaf=6", "T015 leaf=4"],
        ),
        case(
            "a log that ends before the cut-off",
            Lie::Seals(
                |_| {},
                |trust| {
                    trust.seal_keys.push(vkey(SECOND));
                    trust.revoked.push((vkey(SEAL), Cutoff { size: 8, root: cutoff().root }));
                },
            ),
            &["T113 log/checkpoint"],
        ),
        case(
            "a thief's log for an auditor who has only the new key",
            Lie::Seals(|seals| seals.changes.push((5, stolen())), knows_second),
            &["T003 log/checkpoint"],
        ),
    ]
}

/// The report where an auditor has these keys.
fn report(seals: fn(&mut Seals), keys: &[u8], revoked: &[(u8, Cutoff)]) -> Report {
    let mut trust = trust();
    trust.seal_keys = keys.iter().map(|seed| vkey(*seed)).collect();
    trust.revoked = revoked.iter().map(|(seed, cutoff)| (vkey(*seed), *cutoff)).collect();
    audit(&build(honest(), &Lie::Seals(seals, |_| {})), trust, Policy::default(), |_| 0)
}

fn assert_proven(report: &Report, what: &str) {
    assert_eq!((report.verdict, lines(report)), (Verdict::Proven, vec![]), "{what}");
}

#[test]
fn any_key_of_the_line_is_enough() {
    let thrice = |seals: &mut Seals| {
        seals.changes = vec![(0, second(&[SEAL, SECOND])), (4, third())];
    };
    let twice = |seals: &mut Seals| {
        rotate(seals);
        seals.changes.push((8, third()));
    };
    for seals in [thrice as fn(&mut Seals), twice] {
        for keys in [&[SEAL][..], &[SECOND], &[THIRD], &[THIRD, SEAL], &[THIEF, SECOND]] {
            let report = report(seals, keys, &[]);
            assert_proven(&report, &format!("{keys:?}"));
            let line = report.seal_keys.unwrap();
            let seen: Vec<_> = line.terms().map(|term| term.key.clone()).collect();
            assert_eq!(seen, [SEAL, SECOND, THIRD].map(vkey));
            assert!(line.terms().skip(1).all(|term| term.entrance == Entrance::Succession));
        }
        let report = report(seals, &[THIEF], &[]);
        assert_eq!(lines(&report), ["T003 log/checkpoint"], "an unrelated key");
    }
}

/// Before and after every leaf: chunks of one hour, its note, the last one of all.
#[test]
fn a_succession_may_stand_anywhere() {
    const PLACES: [fn(&mut Seals); 8] = [
        |seals| seals.changes.push((0, second(&[SEAL, SECOND]))),
        |seals| seals.changes.push((1, second(&[SEAL, SECOND]))),
        |seals| seals.changes.push((2, second(&[SEAL, SECOND]))),
        |seals| seals.changes.push((3, second(&[SEAL, SECOND]))),
        |seals| seals.changes.push((4, second(&[SEAL, SECOND]))),
        |seals| seals.changes.push((5, second(&[SEAL, SECOND]))),
        |seals| seals.changes.push((6, second(&[SEAL, SECOND]))),
        |seals| seals.changes.push((7, second(&[SEAL, SECOND]))),
    ];
    for (at, place) in PLACES.into_iter().enumerate() {
        for key in [SEAL, SECOND] {
            assert_proven(&report(place, &[key], &[]), &format!("at {at}, by {key}"));
        }
    }
}

#[test]
fn a_revocation_is_followed_by_whoever_has_the_next_key() {
    let emergency: fn(&mut Seals) = |seals| seals.changes.push((4, revoked()));
    for keys in [&[SECOND][..], &[SEAL, SECOND]] {
        assert_proven(&report(emergency, keys, &[]), &format!("{keys:?}"));
    }
    let later: fn(&mut Seals) = |seals| {
        rotate(seals);
        let body = |_: &Frontier| revocation(SEAL, cutoff(), SECOND).to_body();
        seals.changes.push((8, Change { body, by: vec![SECOND], then: SECOND }));
    };
    assert_proven(&report(later, &[SECOND], &[]), "the key in force");
    // Who knows the cut-off knows which of the successions by the stolen key to believe.
    let known = [(SEAL, cutoff())];
    assert_proven(&report(later, &[SEAL], &known), "the cut-off");
    assert_proven(&report(rotate, &[SEAL], &known), "the cut-off alone");
    assert_proven(&report(rotate, &[SECOND], &known), "both");
}
