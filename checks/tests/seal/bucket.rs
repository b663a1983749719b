//! Sealing into servers, and verifying from them, with the programs that users run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use archiver::vault::{Guarantee, S3Vault};
use checks::bin_path::tally;
use checks::forge::{Archive, Random};
use checks::postgres::Postgres;
use checks::store::server::Server;
use checks::store::{ADDRESS, source};
use ledger::key::SigningKey;
use ledger::note::VerifierKey;
use ledger::verify::Trust;
use sqlx::ConnectOptions as _;

use super::{Ledger, ROWS, World, closed, seal_with};

/// A ledger of several hours with chunks of at most so many rows, and the key that seals it.
fn ledger(rows: usize) -> (Ledger, SigningKey) {
    let mut ledgers = (0..).map(|seed| (seed, Ledger::new(seed, rows)));
    let (seed, ledger) = ledgers.find(|(_, ledger)| ledger.hours().count() > 3).unwrap();
    let key = SigningKey::from_seed(&Random::new(seed).bytes());
    let made = VerifierKey::seal(&ledger.trust.origin, key.public());
    assert_eq!(ledger.signer.verifier(), &made, "the seal key is made up first");
    (ledger, key)
}

fn write_trust(path: &Path, trust: &Trust) {
    let mut text =
        format!("origin = \"{}\"\nseal_keys = [\"{}\"]\n", trust.origin, trust.seal_keys[0]);
    for (workspace, keys) in &trust.workspaces {
        text += &format!("[workspaces.\"{workspace}\"]\nroot_keys = [\"{}\"]\n", keys[0]);
    }
    fs::write(path, text).unwrap();
}

fn run(program: &Path, arguments: &[&str], variables: &[(&'static str, String)]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if ["AWS_", "TALLY_"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            command.env_remove(name);
        }
    }
    let variables = variables.iter().map(|(name, value)| (name, value));
    command.args(arguments).envs(variables).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// `tally-verify` on the bucket, its exit code, and what it said.
fn verify(world: &World, variables: &[(&'static str, String)]) -> (i32, String) {
    verify_with(world, variables, &[])
}

fn verify_with(
    world: &World,
    variables: &[(&'static str, String)],
    more: &[&str],
) -> (i32, String) {
    let trust = world.path().join("trust.toml");
    write_trust(&trust, &world.ledger.trust);
    let arguments =
        ["verify", "--archive", ADDRESS, "--trust", trust.to_str().unwrap(), "--any-age"];
    let output = run(&tally("tally-verify"), &[&arguments[..], more].concat(), variables);
    (output.status.code().unwrap(), said(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_a_bucket_is_sealed_and_verified_and_a_flipped_byte_is_caught() {
    let server = Server::files().unwrap();
    let postgres = Postgres::start().unwrap();
    let (ledger, key) = ledger(usize::MAX);
    let world = World::new(&postgres, ledger).await;
    let key_file = world.path().join("seal.pem");
    fs::write(&key_file, key.to_pem().unwrap()).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();

    // The program's clock is the real one: hours after the ledger's last one stay open.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let last = closed(world.ledger.last_hour()).get();
    let grace = (i64::try_from(now).unwrap() - last) / 1_000_000;
    let mut variables = server.variables();
    variables.extend([
        ("TALLY_LEDGER_ORIGIN", world.ledger.trust.origin.to_string()),
        ("TALLY_DATABASE_URL", world.pool.connect_options().to_url_lossy().to_string()),
        ("TALLY_ARCHIVE_URL", ADDRESS.to_owned()),
        ("TALLY_ARCHIVE_SEAL_KEY", key_file.display().to_string()),
        ("TALLY_ARCHIVE_GRACE_SECONDS", grace.to_string()),
    ]);
    let archiver = |command: &str| run(&tally("tally-archiver"), &[command], &variables);
    let sealed = archiver("seal");
    assert!(sealed.status.success(), "{}", said(&sealed));
    let guarantee = "the store refuses to overwrite objects, and replaces the checkpoint only";
    assert!(said(&sealed).contains(guarantee), "{}", said(&sealed));
    assert!(Archive::load(&server.archive()).unwrap() == world.ledger.archive(), "other bytes");
    let again = said(&archiver("seal"));
    assert!(again.contains("nothing to seal") && again.contains(guarantee), "{again}");
    let status = said(&archiver("status"));
    assert!(status.contains("sealed through") && status.contains(guarantee), "{status}");
    assert!(status.contains("does NOT lock objects"), "{status}");
    let (code, report) = verify_with(&world, &server.variables(), &["--expect-locked"]);
    assert!(code == 4 && report.contains("T108"), "{report}");

    let (code, report) = verify(&world, &server.variables());
    assert_eq!(code, 0, "{report}");
    let stranger =
        [server.variables(), vec![("AWS_SECRET_ACCESS_KEY", "wrong".to_owned())]].concat();
    let (code, report) = verify(&world, &stranger);
    assert_eq!(code, 3, "{report}");
    assert!(report.contains("compare the credentials"), "{report}");
    let remote = ("TALLY_ARCHIVE_S3_ENDPOINT", "http://s3.example.com".to_owned());
    let (code, report) = verify(&world, &[server.variables(), vec![remote]].concat());
    assert_eq!(code, 2, "{report}");

    let archive = world.ledger.archive();
    let object = archive.keys().find(|key| key.ends_with(".parquet")).unwrap();
    server.flip(object).unwrap();
    let (code, report) = verify(&world, &server.variables());
    assert_eq!(code, 1, "{report}");
    assert!(report.contains(object), "{report}");
    server.flip(object).unwrap();
    assert_eq!(verify(&world, &server.variables()).0, 0);

    let gone = server.variables();
    drop(server);
    let (code, report) = verify(&world, &gone);
    assert_eq!(code, 3, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hours_are_sealed_one_by_one_where_every_object_is_locked() {
    let server = Server::locking().await.unwrap();
    let postgres = Postgres::start().unwrap();
    let (ledger, _) = ledger(ROWS);
    let world = World::new(&postgres, ledger).await;
    let vault = || S3Vault::over(source(Arc::new(server.connect().unwrap())).unwrap());
    for hour in world.ledger.hours() {
        let signer = &world.ledger.signer;
        let sealed = seal_with(&world.pool, &vault(), signer, closed(hour), &()).await.unwrap();
        assert_eq!(sealed.hours.len(), 1);
        assert_eq!(sealed.guarantees.create, Guarantee::Store);
    }
    let (code, report) = verify_with(&world, &server.variables(), &["--expect-locked"]);
    assert!(code == 0 && report.contains("compliance"), "{report}");
}
