//! Receipts of each kind against an archive.

use ledger::hash::Digest;
use ledger::key::SigningKey;
use ledger::names::{Origin, Seq, Workspace};
use ledger::note::{self, NoteSigner};
use ledger::receipt::Receipt;
use ledger::time::HOUR;
use ledger::verify::{Check, Trust, Verdict};
use verifier::receipts::{ReceiptReport, Standing, compare, read};

use super::checks;
use super::world::{World, key, origin, trust};

fn signed(receipt: &Receipt, by: SigningKey) -> String {
    note::sign(&receipt.to_body(), &[&NoteSigner::receipt(&origin(), by)])
}

/// Compares receipts that the ledger has signed.
fn against(world: &World, receipts: &[&Receipt]) -> ReceiptReport {
    let trust = trust(&[&world.seal]);
    let held = receipts
        .iter()
        .map(|receipt| ("a file".to_owned(), read(signed(receipt, key(90)).as_bytes(), &trust)));
    compare(&world.archive(), &trust, held.collect())
}

fn standing(world: &World, receipt: &Receipt) -> (&'static str, Vec<Check>, u8) {
    let report = against(world, &[receipt]);
    let [one] = report.receipts.as_slice() else { panic!("one receipt") };
    (one.standing.as_str(), checks(&report.findings), report.exit_code())
}

fn next(seq: Seq) -> Seq {
    seq.next().unwrap()
}

#[test]
fn recorded_and_where() {
    let mut world = World::new();
    let mut receipts = vec![world.receipt()];
    world.work(3, 5);
    receipts.push(world.receipt());
    world.seal_hour();
    world.work(3, 1);
    receipts.push(world.receipt());
    world.chunk();
    world.work(3, 2);
    receipts.push(world.receipt());
    world.seal_hour();
    let report = against(&world, &receipts.iter().collect::<Vec<_>>());
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Proven, 0), "{:?}", report.findings);
    for (compared, chunk) in report.receipts.iter().zip([0, 0, 1, 2]) {
        let manifest = &world.chunks[chunk].0.manifest;
        let (object, hour) = (manifest.object.clone(), manifest.hour);
        assert_eq!(compared.standing, Standing::Recorded { object, hour, by_link: false });
    }
}

#[test]
fn not_sealed_yet() {
    let mut world = World::new();
    world.seal_hour();
    world.work(3, 2);
    let open = world.receipt();
    let unsealed = ("not yet sealed", vec![Check::ReceiptUnsealed], 4);
    assert_eq!(standing(&world, &open), unsealed);
    // Its chunk is logged, the hour has no note yet: it is recorded.
    world.chunk();
    assert_eq!(standing(&world, &open).0, "recorded");
}

#[test]
fn missing() {
    let mut world = World::new();
    world.seal_hour();
    let mut lost = World::new();
    lost.seal_hour();
    lost.work(3, 2);
    let receipt = lost.receipt();
    assert_eq!(standing(&world, &receipt).0, "not yet sealed");
    // The hour goes by, and nothing of it was recorded.
    world.close();
    assert_eq!(standing(&world, &receipt), ("missing", vec![Check::ReceiptMissing], 1));
    let other = Receipt { workspace: Workspace::new("beta").unwrap(), ..receipt };
    assert_eq!(standing(&world, &other), ("missing", vec![Check::ReceiptMissing], 1));
    // Another submission stands where it should, in the same hour or in an open one.
    world.work(3, 3);
    world.seal_hour();
    let contradicted = ("contradicted", vec![Check::ReceiptContradicted], 1);
    assert_eq!(standing(&world, &receipt_of(&lost)), contradicted);
    world.work(3, 1);
    let mut across = world.receipt();
    across.first_seq = Seq::new(across.first_seq.get() - 1).unwrap();
    assert_eq!(standing(&world, &across), contradicted);
}

fn receipt_of(world: &World) -> Receipt {
    world.receipt()
}

#[test]
fn every_line_of_it_is_compared() {
    let mut world = World::new();
    world.work(3, 2);
    world.work(3, 3);
    let right = world.receipt();
    world.work(3, 2);
    world.seal_hour();
    assert_eq!(standing(&world, &right).0, "recorded");
    let other = Digest::of(b"another");
    let late = right.recorded_at.checked_add(1).unwrap();
    let wrong = [
        Receipt { submission: other, ..right.clone() },
        Receipt { link: other, ..right.clone() },
        Receipt { recorded_at: late, ..right.clone() },
        Receipt { first_seq: next(right.first_seq), ..right.clone() },
        Receipt { last_seq: next(right.last_seq), ..right.clone() },
        Receipt { first_seq: Seq::new(right.first_seq.get() - 1).unwrap(), ..right.clone() },
        Receipt { last_seq: Seq::new(right.last_seq.get() - 1).unwrap(), ..right.clone() },
        Receipt {
            first_seq: next(right.first_seq),
            last_seq: next(right.last_seq),
            ..right.clone()
        },
        Receipt { first_seq: Seq::FIRST, ..right.clone() },
    ];
    for receipt in &wrong {
        let contradicted = ("contradicted", vec![Check::ReceiptContradicted], 1);
        assert_eq!(standing(&world, receipt), contradicted, "{receipt:?}");
    }
    // Together with one that is right, which stays so.
    let report = against(&world, &[&wrong[0], &right]);
    let standings: Vec<_> = report.receipts.iter().map(|one| one.standing.as_str()).collect();
    assert_eq!((standings, report.exit_code()), (vec!["contradicted", "recorded"], 1));
}

#[test]
fn across_two_chunks() {
    let mut world = World::new();
    world.seal_hour();
    world.work(3, 2);
    let mut receipt = world.receipt();
    world.seal_hour();
    receipt.first_seq = Seq::new(receipt.first_seq.get() - 1).unwrap();
    assert_eq!(standing(&world, &receipt).0, "contradicted");
}

#[test]
fn pruned() {
    let mut world = World::new();
    world.seal_hour();
    world.work(3, 2);
    let inside = world.receipt();
    world.work(3, 2);
    let last = world.receipt();
    world.seal_hour();
    world.prune(1);
    assert_eq!(standing(&world, &inside), ("pruned", vec![Check::Pruned], 4));
    // The manifest stays, and so does the link that the chunk ends with.
    assert_eq!(standing(&world, &last), ("recorded", vec![], 0));
    let wrong = Receipt { link: Digest::of(b"another"), ..last };
    assert_eq!(standing(&world, &wrong), ("contradicted", vec![Check::ReceiptContradicted], 1));
}

#[test]
fn an_archive_that_is_not_in_order_says_nothing_of_receipts() {
    let mut world = World::new();
    let receipt = world.receipt();
    world.seal_hour();
    let trust = trust(&[&world.seal]);
    let archive = world.archive();
    let held = || vec![("a file".to_owned(), read(signed(&receipt, key(90)).as_bytes(), &trust))];
    for key in archive.keys() {
        let mut changed = archive.clone();
        *changed.0.get_mut(key).unwrap().last_mut().unwrap() ^= 1;
        let report = compare(&changed, &trust, held());
        assert_eq!(report.receipts[0].standing, Standing::Unknown, "{key}");
        assert_eq!(report.exit_code(), 1, "{key}: {:?}", report.findings);
        changed.0.remove(key);
        let report = compare(&changed, &trust, held());
        assert_eq!((report.verdict, report.exit_code()), (Verdict::Tampered, 1), "{key}");
    }
    let report = compare(&checks::forge::Archive::default(), &trust, held());
    assert_eq!((checks(&report.findings), report.exit_code()), (vec![Check::NoArchive], 3));
}

#[test]
fn what_is_no_receipt_of_this_ledger_is_refused() {
    let mut world = World::new();
    let receipt = world.receipt();
    world.seal_hour();
    let trust = trust(&[&world.seal]);
    let good = signed(&receipt, key(90));
    let elsewhere = Origin::new("ledger.example.com/other").unwrap();
    let other = Receipt { origin: elsewhere, ..receipt.clone() };
    let forged = signed(&receipt, key(91));
    let seal = note::sign(&receipt.to_body(), &[&world.seal]);
    let changed = good.replace("first_seq 3", "first_seq 2");
    let foreign = signed(&other, key(90));
    for bad in [&forged, &seal, &changed, &foreign, "", "a receipt", good.get(..40).unwrap()] {
        assert!(read(bad.as_bytes(), &trust).is_err(), "{bad:?}");
    }
    let held = |texts: &[&str], trust: &Trust| {
        let held = texts.iter().map(|text| ("a file".to_owned(), read(text.as_bytes(), trust)));
        compare(&world.archive(), trust, held.collect())
    };
    // It says nothing of the archive: what is a receipt is compared all the same.
    let report = held(&[&forged, &good], &trust);
    assert_eq!((report.verdict, report.exit_code()), (Verdict::Proven, 2));
    assert!(matches!(&report.receipts[0].standing, Standing::Refused(reason)
        if reason.contains("receipt key")));
    assert_eq!(report.receipts[1].standing.as_str(), "recorded");
    // Something graver decides.
    let wrong = signed(&Receipt { link: Digest::of(b"x"), ..receipt }, key(90));
    assert_eq!(held(&[&forged, &wrong], &trust).exit_code(), 1);
}

#[test]
fn an_hour_has_to_be_over() {
    let mut world = World::new();
    world.seal_hour();
    let end = world.chunks[0].0.manifest.hour.end();
    assert_eq!(end % HOUR, 0);
    world.work(3, 1);
    let open = world.receipt();
    for (recorded_at, check) in [(end, Check::ReceiptUnsealed), (end - 1, Check::ReceiptMissing)] {
        let recorded_at = ledger::time::Micros::new(recorded_at).unwrap();
        let receipt = Receipt { recorded_at, ..open.clone() };
        assert_eq!(standing(&world, &receipt).1, [check]);
    }
}
