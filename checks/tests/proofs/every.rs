//! Every event of several archives, by our code and by the second implementation.

use std::path::{Path, PathBuf};

use checks::forge::{Archive, Content, golden, honest};
use checks::tools::python;
use ledger::hash::Digest;
use ledger::names::{EventId, Workspace};
use ledger::proof::{Proof, TlogProof, check};
use ledger::succession::Cutoff;
use ledger::verify::{Check, Trust, Verdict};
use serde_json::json;
use verifier::prove::{Which, prove};

use super::world::{World, id_of, seal, trust};
use super::{acme, at, checks, made};

pub fn trust_file(trust: &Trust) -> String {
    let mut text =
        format!("origin = \"{}\"\nseal_keys = [\"{}\"]\n", trust.origin, trust.seal_keys[0]);
    for (key, Cutoff { size, root }) in &trust.revoked {
        text += &format!("[[revoked]]\nkey = \"{key}\"\nsize = {size}\nroot = \"{root}\"\n");
    }
    for (workspace, keys) in &trust.workspaces {
        text += &format!("[workspaces.\"{workspace}\"]\nroot_keys = [\"{}\"]\n", keys[0]);
    }
    text
}

/// Proves every event, or one in `step`, by seq and by its UUID, and with and without its payload;
/// gives the files.
fn prove_all(archive: &Archive, trust: &Trust, step: usize, directory: &Path) -> Vec<PathBuf> {
    let content = Content::read(archive);
    let rows = content.chunks().flat_map(|chunk| {
        chunk.rows.iter().map(|row| (chunk.manifest.workspace.clone(), chunk.manifest.hour, row))
    });
    let mut files = Vec::new();
    for (workspace, hour, row) in rows.step_by(step) {
        let seq = row.row.seq;
        for digest_only in [false, seq != 1] {
            let made = prove(archive, trust, &workspace, at(seq), digest_only);
            let made = made.unwrap_or_else(|error| panic!("{workspace} {seq}: {error:?}"));
            let proven = made.checked.proven.unwrap();
            assert_eq!(check(&made.bytes, trust).proven.as_ref(), Some(&proven));
            let unpinned = !trust.workspaces.contains_key(&workspace);
            let expected = if unpinned { vec![Check::Unpinned] } else { vec![] };
            assert_eq!(checks(&made.checked.findings), expected);
            assert_eq!(made.checked.verdict, Verdict::Proven);
            let event = &proven.event;
            assert_eq!((event.seq.get(), event.event_id.as_bytes()), (seq, &row.row.event_id));
            assert_eq!(event.recorded_at.get(), row.row.recorded_at);
            assert_eq!(event.public_key.as_bytes(), &row.row.public_key);
            assert_eq!(proven.submission.as_bytes(), &row.row.submission_hash);
            assert_eq!((&proven.manifest.workspace, proven.manifest.hour), (&workspace, hour));
            assert_eq!(event.payload, row.payload.clone().filter(|_| !digest_only));
            assert_eq!(Proof::parse(&made.bytes).unwrap().to_bytes(), made.bytes);
            let path = directory.join(format!("{workspace}-{seq}-{digest_only}.proof"));
            std::fs::write(&path, &made.bytes).unwrap();
            files.push(path);
        }
        let id = Which::Id(EventId::from_bytes(row.row.event_id).unwrap());
        let by_id = prove(archive, trust, &workspace, id, false).unwrap();
        let by_seq =
            std::fs::read(directory.join(format!("{workspace}-{seq}-false.proof"))).unwrap();
        assert_eq!(by_id.bytes, by_seq, "the same event gives the same proof");
    }
    files
}

/// The second implementation finds the same in each file.
async fn second_agrees(trust: &str, directory: &Path, files: &[PathBuf]) {
    let trust_path = directory.join("trust.toml");
    std::fs::write(&trust_path, trust).unwrap();
    let mut arguments = vec![trust_path.as_path()];
    arguments.extend(files.iter().map(PathBuf::as_path));
    let (code, told) = python("proof.py", &arguments).await.unwrap();
    assert_eq!(code, Some(0), "{told}");
    let trust = verifier::trust::parse(trust).unwrap();
    let told = told.as_array().unwrap();
    assert_eq!(told.len(), files.len());
    for (told, file) in told.iter().zip(files) {
        let proven = check(&std::fs::read(file).unwrap(), &trust).proven.unwrap();
        assert_eq!(told["verdict"], "proven", "{told}");
        assert_eq!(told["seq"], proven.event.seq.get());
        assert_eq!(told["recorded_at"], proven.event.recorded_at.to_string());
        assert_eq!(told["public_key"], proven.event.public_key.to_string());
        assert_eq!(told["role"], proven.role.as_str());
        assert_eq!(told["submission"], proven.submission.to_string());
        assert_eq!(told["payload_digest"], proven.payload_digest.to_string());
        assert_eq!(told["payload_shown"], proven.event.payload.is_some());
        assert_eq!(
            (&told["log_index"], &told["log_size"]),
            (&proven.log_index.into(), &proven.log.size.into())
        );
        let history: Vec<_> = proven.authority.iter().map(|one| one.seq.get()).collect();
        assert_eq!(told["key_history"], serde_json::json!(history));
    }
}

#[tokio::test]
async fn of_the_golden_archive() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, trust) = golden();
    let files = prove_all(&archive, &trust, 1, directory.path());
    assert_eq!(files.len(), 2 * 73);
    let path = checks::forge::golden_path().join("trust.toml");
    second_agrees(&std::fs::read_to_string(path).unwrap(), directory.path(), &files).await;
}

#[tokio::test]
async fn of_made_up_archives() {
    for (seed, step) in [(1, 3), (2, 4), (5, 5)] {
        let directory = tempfile::tempdir().unwrap();
        let honest = honest(seed);
        let files = prove_all(&honest.archive(), &honest.trust, step, directory.path());
        assert!(files.len() > 20, "{}", files.len());
        second_agrees(&trust_file(&honest.trust), directory.path(), &files).await;
    }
}

#[test]
fn the_log_part_is_a_tlog_proof() {
    let (archive, trust) = golden();
    let made = prove(&archive, &trust, &acme(), at(70), false).unwrap();
    let text = String::from_utf8(made.bytes).unwrap();
    let mut parts = text.split("\ntlog-proof ");
    parts.next().unwrap();
    let mut seen = 0;
    for part in parts {
        let (length, rest) = part.split_once('\n').unwrap();
        let tlog = rest.get(..length.parse().unwrap()).unwrap();
        let read = TlogProof::parse(tlog).unwrap();
        assert_eq!(read.to_text(), tlog);
        assert_eq!(read.checkpoint.as_bytes(), archive.0["log/checkpoint"], "verbatim");
        assert_eq!(read.path.len(), 3, "seven leaves");
        assert!(TlogProof::parse(&tlog.replace("index", "extra AAAA\nindex")).is_none());
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn the_vectors_are_made_again_byte_for_byte() {
    let (archive, trust) = golden();
    let beta = Workspace::new("beta").unwrap();
    let vectors = checks::forge::golden_path().join("../proofs");
    for (name, workspace, seq, digest_only) in [
        ("acme-70", acme(), 70, false),
        ("acme-67", acme(), 67, false),
        ("acme-65-digest", acme(), 65, true),
        ("beta-1", beta, 1, false),
    ] {
        let made = prove(&archive, &trust, &workspace, at(seq), digest_only).unwrap();
        let vector = std::fs::read(vectors.join(format!("{name}.proof"))).unwrap();
        assert!(made.bytes == vector, "{name}");
    }
}

#[test]
fn what_is_not_there_is_not_proven() {
    let (archive, trust) = golden();
    let gamma = Workspace::new("gamma").unwrap();
    for (workspace, which) in [
        (acme(), at(71)),
        (acme(), Which::Id(EventId::from_bytes([9; 16]).unwrap())),
        (gamma, at(1)),
    ] {
        let error = prove(&archive, &trust, &workspace, which, false).unwrap_err();
        assert!(matches!(error, verifier::prove::ProveError::NoEvent { .. }), "{error:?}");
    }
}

/// What the second implementation says of each file.
pub async fn second(trust: &Trust, files: &[Vec<u8>]) -> Vec<bool> {
    let directory = tempfile::tempdir().unwrap();
    let mut paths = vec![directory.path().join("trust.toml")];
    std::fs::write(&paths[0], trust_file(trust)).unwrap();
    for (at, bytes) in files.iter().enumerate() {
        let path = directory.path().join(format!("{at}.proof"));
        std::fs::write(&path, bytes).unwrap();
        paths.push(path);
    }
    let arguments: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
    let (_, told) = python("proof.py", &arguments).await.unwrap();
    told.as_array().unwrap().iter().map(|one| one["verdict"] == "proven").collect()
}

/// Both implementations say the same of every proof under every trust, and of proofs with a byte changed.
#[tokio::test]
async fn both_agree_where_keys_change() {
    let mut world = World::new();
    world.seal_hour();
    world.succeed(&seal(51));
    let erased = world.work(3, 3);
    world.seal_hour();
    let context = json!({"event_ids": [id_of(erased).to_string()], "reason": "request 7"});
    world.set(2, "ledger.payload_erased", context);
    let (stolen, cutoff) = world.revoke_seal(&seal(52));
    world.erase(erased);
    let revoked = world.revoke(1, 2);
    world.seal_hour();
    let archive = world.archive();
    let known = trust(&[&seal(50), &seal(52)]);
    let mut files = Vec::new();
    for seq in [1, 2, 3, erased - 1, erased, revoked - 1, revoked] {
        files.push(made(&archive, &known, seq).bytes);
    }
    for at in (0..files[6].len()).step_by(97) {
        let mut changed = files[6].clone();
        changed[at] ^= 2;
        files.push(changed);
    }
    let root = Digest::of(b"another log");
    let cutoffs = [
        cutoff,
        Cutoff { root, ..cutoff },
        Cutoff { size: cutoff.size - 1, ..cutoff },
        Cutoff { size: 2, root },
        Cutoff { size: 99, root },
    ];
    let mut trusts: Vec<_> = [50, 51, 52, 53].map(|key| trust(&[&seal(key)])).into();
    for cutoff in cutoffs {
        let revoked = vec![(stolen.clone(), cutoff)];
        trusts.push(Trust { revoked, ..trust(&[&seal(52)]) });
    }
    let mut proven = 0;
    for trust in &trusts {
        let told = second(trust, &files).await;
        for (at, (bytes, told)) in files.iter().zip(told).enumerate() {
            let checked = check(bytes, trust);
            assert_eq!(checked.proven.is_some(), told, "{at}: {trust:?}: {checked:?}");
            proven += usize::from(told);
        }
    }
    assert_eq!(proven, 2 * 7, "under the key in force, and under it with the stolen one's cut-off");
}
