//! An archive that several machines check, each a shard of its chunks; and what their parts come to together.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use checks::forge::Archive;
use ledger::names::Origin;
use ledger::verify::{Policy, Report, Verdict};
use tempfile::TempDir;
use verifier::audit::{ShardReport, check_shard, verify_by_parts};
use verifier::part::{PartWriter, Parts, Shard};

use super::command::{command, write_trust};
use super::{Honest, Watched, fresh, grown};

fn shard(text: &str) -> Shard {
    text.parse().unwrap()
}

fn part(archive: &Archive, honest: &Honest, of: &str, path: &Path) -> ShardReport {
    let writer = PartWriter::new(File::create(path).unwrap(), &honest.trust.origin, shard(of));
    let (trust, policy) = (honest.trust.clone(), Policy::default());
    check_shard(archive, trust, policy, shard(of), writer.unwrap(), &()).unwrap()
}

/// The parts of so many shards, in a directory.
fn parts(archive: &Archive, honest: &Honest, count: usize, directory: &Path) -> Vec<PathBuf> {
    let one = |number: usize| {
        let path = directory.join(format!("part-{number}-of-{count}"));
        part(archive, honest, &format!("{number}/{count}"), &path);
        path
    };
    (1..=count).map(one).collect()
}

fn together(source: &Watched, honest: &Honest, paths: &[PathBuf]) -> Report {
    let parts = Parts::open(paths, &honest.trust.origin).unwrap();
    verify_by_parts(source, honest.trust.clone(), Policy::default(), &parts, &())
}

#[test]
fn parts_come_to_the_report_of_one_run_and_no_chunk_is_read_again() {
    for seed in 0..8 {
        let (honest, archives) = grown(seed);
        let archive = archives.last().unwrap();
        let directory = TempDir::new().unwrap();
        let chunks = honest.content.chunks().count();
        for count in 1..=4 {
            let paths = parts(archive, &honest, count, directory.path());
            let parts = Parts::open(&paths, &honest.trust.origin).unwrap();
            let held: u64 = parts.inputs().iter().map(|input| input.chunks).sum();
            assert_eq!(held, u64::try_from(chunks).unwrap(), "each chunk is in one part");
            let source = Watched::new(archive.clone());
            assert_eq!(together(&source, &honest, &paths), fresh(archive, &honest));
            assert_eq!(source.take(), [""; 0], "seed {seed}, {count} shards");
        }
    }
}

#[test]
fn a_shard_reads_its_own_chunks_and_gives_the_same_bytes_again() {
    let (honest, archives) = grown(2);
    let archive = archives.last().unwrap();
    let directory = TempDir::new().unwrap();
    let chunks = honest.content.chunks().count();
    let (mut read, mut kept) = (Vec::new(), 0);
    for of in ["1/3", "2/3", "3/3"] {
        let place = |name: &str| directory.path().join(name);
        let writer = File::create(place("watched")).unwrap();
        let writer = PartWriter::new(writer, &honest.trust.origin, shard(of)).unwrap();
        let (source, trust) = (Watched::new(archive.clone()), honest.trust.clone());
        let policy = Policy::default();
        let report = check_shard(&source, trust, policy, shard(of), writer, &()).unwrap();
        assert_eq!(report.of, u64::try_from(chunks).unwrap());
        assert!(!report.ended && report.findings.is_empty(), "{report:?}");
        kept += report.chunks;
        let own = source.take();
        assert_eq!(u64::try_from(own.len()).unwrap(), report.chunks);
        read.extend(own);
        part(archive, &honest, of, &place("again"));
        assert_eq!(fs::read(place("watched")).unwrap(), fs::read(place("again")).unwrap());
    }
    assert_eq!(kept, u64::try_from(chunks).unwrap());
    read.sort_unstable();
    read.dedup();
    assert_eq!(read.len(), chunks);
}

#[test]
fn what_no_part_holds_is_checked_by_whoever_takes_them_together() {
    let (honest, archives) = grown(1);
    let directory = TempDir::new().unwrap();
    let early = parts(&archives[0], &honest, 2, directory.path());
    let before = fresh(&archives[0], &honest).chunks;
    let archive = archives.last().unwrap();
    let all = fresh(archive, &honest);
    let source = Watched::new(archive.clone());
    assert_eq!(together(&source, &honest, &early), all, "sealed since");
    assert_eq!(u64::try_from(source.take().len()).unwrap(), all.chunks - before);
    assert_eq!(together(&source, &honest, &early[..1]), all, "a part is missing");
    // Parts of another archive name chunks that this one does not have.
    let (other, of_other) = grown(5);
    let strange = parts(of_other.last().unwrap(), &other, 1, directory.path());
    source.take();
    assert_eq!(together(&source, &honest, &strange), all);
    assert_eq!(u64::try_from(source.take().len()).unwrap(), all.chunks);
}

#[test]
fn a_chunk_that_went_after_its_shard_was_checked_is_missed() {
    let (honest, archives) = grown(6);
    let directory = TempDir::new().unwrap();
    let mut archive = archives.last().unwrap().clone();
    let paths = parts(&archive, &honest, 2, directory.path());
    let gone = archive.keys().find(|key| key.starts_with("events/")).unwrap().to_owned();
    archive.0.remove(&gone);
    let report = together(&Watched::new(archive.clone()), &honest, &paths);
    assert_eq!(report.verdict, Verdict::Tampered);
    assert_eq!(report, fresh(&archive, &honest));
}

#[test]
fn a_part_that_is_not_as_it_was_written_is_refused() {
    let (honest, archives) = grown(0);
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("part");
    part(archives.last().unwrap(), &honest, "1/1", &path);
    let whole = fs::read(&path).unwrap();
    let origin = &honest.trust.origin;
    let open = |bytes: &[u8], origin: &Origin| {
        fs::write(&path, bytes).unwrap();
        let opened = Parts::open(std::slice::from_ref(&path), origin);
        opened.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(open(&whole, origin), Ok(()));
    // Every cut, and a flip at each of many places.
    let step = whole.len() / 300 + 1;
    for at in (0..whole.len()).step_by(step) {
        assert!(open(&whole[..at], origin).is_err(), "cut at {at}");
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        assert!(open(&flipped, origin).is_err(), "flipped at {at}");
    }
    let more = [whole.as_slice(), b"{}\n"].concat();
    assert!(open(&more, origin).unwrap_err().contains("something follows"));
    let other = Origin::new("example.org/other").unwrap();
    let refused = open(&whole, &other).unwrap_err();
    assert!(refused.contains("it is of the ledger"), "{refused}");
    let text = String::from_utf8(whole).unwrap();
    let older = text.replacen("\"verifier\":\"", "\"verifier\":\"0.0.", 1);
    let refused = open(older.as_bytes(), origin).unwrap_err();
    assert!(refused.contains("make it again by this one"), "{refused}");
}

#[test]
fn by_the_command() {
    let (honest, archives) = grown(4);
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    write_trust(directory, &honest.trust);
    archives.last().unwrap().store(&directory.join("archive")).unwrap();
    let run = |more: &[&str]| {
        let output = command(directory, "verify", more).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    for of in ["1/2", "2/2"] {
        let name = format!("part-{}", of.replace('/', "-"));
        let (code, text, error) = run(&["--shard", of, "--keep-part", &name]);
        assert_eq!((code, &*error), (0, ""), "{text}");
        assert!(text.starts_with(&format!("PART {of}: no verdict")), "{text}");
        assert!(text.contains("--part for each part"), "{text}");
    }
    let (code, whole, _) = run(&["--any-age"]);
    assert_eq!(code, 0, "{whole}");
    let by_parts = ["--any-age", "--part", "part-1-2", "--part", "part-2-2"];
    let (code, text, error) = run(&by_parts);
    assert_eq!((code, &*error), (0, ""), "{text}");
    let is_part = |line: &&str| line.starts_with("part ");
    let rest: Vec<_> = text.lines().filter(|line| !is_part(line)).collect();
    assert_eq!(rest, whole.lines().collect::<Vec<_>>());
    assert_eq!(text.lines().filter(is_part).count(), 2, "{text}");

    for (more, what) in [
        (&["--shard", "0/2", "--keep-part", "p"][..], "a shard like 2/5"),
        (&["--shard", "3/2", "--keep-part", "p"], "a shard like 2/5"),
        (&["--shard", "two", "--keep-part", "p"], "a shard like 2/5"),
        (&["--shard", "1/2"], "--keep-part"),
        (&["--keep-part", "p"], "--shard"),
        (&["--shard", "1/2", "--keep-part", "p", "--json"], "cannot be used with"),
        (&["--shard", "1/2", "--keep-part", "trust.toml"], "would be replaced"),
        (&["--shard", "1/2", "--keep-part", "archive/p"], "lies in the archive"),
        (&["--shard", "1/2", "--keep-part", "no/p"], "cannot write to no/p"),
        (&["--part", "nothing"], "the part nothing: "),
        (&["--part", "trust.toml"], "does not begin with the line of a part"),
        (&["--part", "."], "it is no plain file"),
    ] {
        let (code, text, error) = run(more);
        assert_eq!((code, &*text), (2, ""), "{more:?}: {error}");
        assert!(error.contains(what), "{more:?}: {error}");
    }
    assert!(!directory.join("p").exists());
}
