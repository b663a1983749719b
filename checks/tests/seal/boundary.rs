//! The last microsecond of an hour and the first of the next (FAULTS rows 22 and 23), and an archive
//! whose disk is full (row 25).

use std::time::Duration;

use archiver::SealError;
use archiver::vault::{FileVault, VaultError};
use checks::disk::Disk;
use checks::driver::{Answer, Client};
use checks::forge::{Archive, Content};
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::worker::Worker;
use ledger::names::Workspace;
use ledger::time::{HOUR, Micros};
use ledger::verify::{Trust, Verdict};

use super::{Ledger, ROWS, World, closed, seal_with, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_each_entry_lies_in_the_hour_of_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let postgres = Postgres::start().unwrap();
    let rig = Rig::new(directory.path(), "ledger.example.com/edge", postgres).await.unwrap();
    let first = ledger::payload::occurred_at("2026-11-23T16:00:00Z").unwrap();
    let micro = |offset: i64| first.checked_add(offset).unwrap();
    let clock = HandClock::new(first);
    let running = rig.serve(clock.clone()).await.unwrap();
    let client = Client::new(&base(running.local_addr()), Duration::from_secs(30)).unwrap();
    let open =
        |name: &str, seed| Worker::new(&rig.origin, &Workspace::new(name).unwrap(), "w", seed);
    let (mut acme, mut late) = (open("acme", 1), open("late", 2));
    let post = async |submission| {
        let answer = client.post(&submission).await;
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    };
    post(acme.open_workspace(first)).await;
    // In the last microsecond of the first hour, a workspace too.
    clock.reach(micro(HOUR - 1));
    post(acme.work(3, first)).await;
    post(late.open_workspace(first)).await;
    // In the first of the second.
    clock.reach(micro(HOUR));
    post(acme.work(2, first)).await;
    // And in the last of the third, after an hour of silence of one of them.
    clock.reach(micro(3 * HOUR - 1));
    post(late.work(4, first)).await;
    running.shutdown().await;

    rig.write_trust(&[acme, late]).unwrap();
    // A microsecond before the third hour has ended, two are sealed.
    assert_eq!(rig.seal(micro(3 * HOUR - 1)).await.unwrap().hours.len(), 2);
    assert_eq!(rig.seal(micro(3 * HOUR)).await.unwrap().hours.len(), 1);
    let report = rig.verify().unwrap();
    assert_eq!(report.verdict, Verdict::Proven, "{:?}", report.findings);
    let content = Content::read(&Archive::load(&rig.archive()).unwrap());
    let mut seen = Vec::new();
    for chunk in content.chunks() {
        let (workspace, hour) = (chunk.manifest.workspace.as_str(), chunk.manifest.hour);
        for row in &chunk.rows {
            assert_eq!(Micros::new(row.row.recorded_at).unwrap().hour(), hour);
        }
        let hours = first.hour().until(hour);
        if workspace != "ledger.acts" {
            seen.push((
                hours,
                workspace,
                chunk.manifest.first_seq.get(),
                chunk.manifest.last_seq.get(),
            ));
        }
    }
    let expected = [(0, "acme", 1, 4), (0, "late", 1, 1), (1, "acme", 5, 6), (2, "late", 2, 5)];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn row_25_an_archive_whose_disk_is_full() {
    let Some(disk) = Disk::mount(1) else {
        let line = "2.2 row 25: SKIPPED, this machine does not let the test mount a file system";
        let tmp = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        return checks::figures::tell(tmp, line).unwrap();
    };
    let postgres = Postgres::start().unwrap();
    let ledger = Ledger::new(1, ROWS);
    let world = World::new(&postgres, ledger.clone()).await;
    let now = closed(ledger.last_hour());
    let archive = disk.path().join("archive");
    let vault = FileVault::open(&archive.to_string_lossy()).unwrap();
    let filling = disk.path().join("something-else");
    std::fs::write(&filling, vec![0; 2 << 20]).unwrap_err();
    // There is less and less room in the way, so that it ends a little further on each time.
    let (mut room, mut full) = (0, 0);
    loop {
        match seal_with(&world.pool, &vault, &ledger.signer, now, &()).await {
            Ok(sealed) => break assert!(sealed.log_size > 0),
            Err(SealError::Vault(VaultError::Io { error, .. })) => {
                assert_eq!(error.raw_os_error(), Some(28), "{error}");
                full += 1;
            }
            Err(error) => panic!("{error}"),
        }
        room += 4_096;
        let file = std::fs::OpenOptions::new().write(true).open(&filling).unwrap();
        file.set_len((1_u64 << 20).saturating_sub(room)).unwrap();
        let found = Archive::load(&archive).unwrap();
        if found.keys().any(|key| key == "log/checkpoint") {
            let trust = Trust { workspaces: Default::default(), ..ledger.trust.clone() };
            let report = verify(&archive, trust);
            assert_ne!(report.verdict, Verdict::Tampered, "{:?}", report.findings);
        }
    }
    assert!(full > 10, "it was full {full} times");
    assert!(Archive::load(&archive).unwrap() == ledger.archive());
    let staging = archive.join(verifier::store::FileSource::STAGING);
    assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0, "nothing is left behind");
}
