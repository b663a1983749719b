//! Real events, all the way: from an agent's file through the service, Postgres and the archive,
//! and back out byte for byte; and the same journey with the programs that users run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and tells its figures"
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use checks::bin_path::tally;
use checks::driver::{Answer, Client};
use checks::events::Agent;
use checks::forge::{Archive, Content};
use checks::history::History;
use checks::postgres::Postgres;
use checks::rig::{HandClock, Rig};
use checks::service::base;
use checks::submission::Submission;
use checks::token::ADMIN;
use checks::worker::Worker;
use ingest::access::token::TokenHash;
use ingest::{Clock as _, SystemClock};
use ledger::names::Workspace;
use ledger::time::{HOUR, Micros};
use ledger::verify::Verdict;

const PATIENCE: Duration = Duration::from_secs(30);

/// The lines of the data set, or the reason why it is not there.
fn agent_runs() -> Result<Vec<Vec<u8>>, String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/agent-runs.ndjson.zst");
    let file =
        std::fs::File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = zstd::decode_all(file).map_err(|error| error.to_string())?;
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    Ok(text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_agent_runs_come_back_byte_for_byte() {
    let lines = match agent_runs() {
        Ok(lines) => lines,
        Err(reason) => return println!("SKIPPED: no real agent runs here: {reason}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let rig = Rig::new(directory.path(), "ledger.example.com/runs", Postgres::start().unwrap())
        .await
        .unwrap();
    let start = Micros::parse("2026-11-23T14:00:00.000000Z").unwrap();
    let clock = HandClock::new(start);
    let service = rig.serve(clock.clone()).await.unwrap();
    let client = Client::new(&base(service.local_addr()), PATIENCE).unwrap();
    let path = rig.directory.join("history.ndjson");
    let history = History::open(&path).unwrap();
    let deliver = async |submission: &Submission| {
        let answer = client.deliver(&history, submission, PATIENCE).await.unwrap();
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    };

    let workspace = Workspace::new("tau-airline").unwrap();
    let mut founder = Worker::new(&rig.origin, &workspace, "founder", 1);
    let mut agent = Worker::new(&rig.origin, &workspace, "gpt-4o", 2);
    rig.write_trust(std::slice::from_ref(&founder)).unwrap();
    deliver(&founder.open_workspace(start)).await;
    deliver(&founder.register(&agent, start)).await;
    let mut submissions = 0;
    for batch in lines.chunks(100) {
        deliver(&agent.sign(batch.to_vec())).await;
        submissions += 1;
        clock.reach(Micros::new(start.get() + submissions * HOUR / 40).unwrap());
    }
    service.shutdown().await;

    let sealed = rig.seal(Micros::new(start.get() + 2 * HOUR).unwrap()).await.unwrap();
    let report = rig.verify().unwrap();
    assert_eq!(report.verdict, Verdict::Proven, "{:#?}", report.findings);
    assert_eq!(report.findings, [], "not even a notice");
    let figures = rig.judge(&path, Some(&report)).await.unwrap();
    assert!(figures.held(), "{:#?}", figures.findings);

    let content = Content::read(&Archive::load(&rig.archive()).unwrap());
    let own = ingest::access::settings::acts_workspace();
    let chunks = content.chunks().filter(|chunk| chunk.manifest.workspace != own);
    let rows = chunks.flat_map(|chunk| &chunk.rows);
    let payloads: Vec<_> = rows.skip(2).map(|row| row.payload.clone().unwrap()).collect();
    assert!(payloads == lines, "the archive's payloads are the file's lines");
    println!(
        "real agent runs: {} events in {submissions} submissions, {} hours sealed, proven, the \
         archive's payloads equal the file's lines",
        lines.len(),
        sealed.hours.len()
    );
}

/// A program of ours, with none of the variables that this test may have been given.
fn program(name: &str) -> Command {
    let mut command = Command::new(tally(name));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("TALLY_") {
            command.env_remove(variable);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// What a program that ends by itself says on both its outputs, and its exit code.
fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

/// `tally-ingest serve`, killed when the test fails.
struct Serving {
    child: Child,
    url: String,
}

impl Serving {
    fn start(directory: &Path) -> Self {
        let mut command = program("tally-ingest");
        let log = std::fs::File::create(directory.join("serve.log")).unwrap();
        command.arg("serve").current_dir(directory).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    /// SIGTERM, and the exit code.
    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to kill.
        let _ = self.child.kill();
    }
}

/// A ledger with an hour that has closed for the machine's own clock, too, and a `tally.toml`.
async fn ledger_with_a_past(directory: &Path) -> Rig {
    let rig = Rig::new(directory, "ledger.example.com/journey", Postgres::start().unwrap())
        .await
        .unwrap();
    let earlier = Micros::new(SystemClock.now().get() - 2 * HOUR).unwrap();
    let service = rig.serve(HandClock::new(earlier)).await.unwrap();
    let client = Client::new(&base(service.local_addr()), PATIENCE).unwrap();
    let past = Workspace::new("past").unwrap();
    let mut founder = Worker::new(&rig.origin, &past, "founder", 1);
    for submission in [founder.open_workspace(earlier), founder.work(20, earlier)] {
        assert!(matches!(client.post(&submission).await, Answer::Receipt(_)));
    }
    service.shutdown().await;
    let settings = format!(
        "[ledger]\norigin = \"{}\"\n[database]\nurl = \"{}\"\n\
         [ingest]\nlisten = \"127.0.0.1:0\"\nreceipt_key = \"keys/receipt.pem\"\n\
         custodian_key = \"keys/custodian.pem\"\nadmin_tokens = {{ ops = \"{}\" }}\n\
         [archive]\nurl = \"{}\"\nseal_key = \"keys/seal.pem\"\n",
        rig.origin,
        rig.postgres.url(),
        TokenHash::of(ADMIN),
        rig.archive().display()
    );
    std::fs::write(rig.directory.join("tally.toml"), settings).unwrap();
    rig
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_journey_by_command_line_and_by_the_machines_clock() {
    let directory = tempfile::tempdir().unwrap();
    let rig = ledger_with_a_past(directory.path()).await;
    let home = rig.directory.clone();
    let ingest =
        |arguments: &[&str]| run(program("tally-ingest").args(arguments).current_dir(&home));
    let done = |arguments: &[&str]| {
        let (code, text) = ingest(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text.trim().to_owned()
    };
    done(&["migrate"]);
    let root = done(&["keygen", "--out", "root.pem"]);
    let agent = done(&["keygen", "--out", "agent.pem"]);
    assert!(root.starts_with("ed25519:") && agent != root);

    let serving = Serving::start(&home);
    let url = serving.url.clone();
    let by = |key: &'static str| ["--url", &url, "--key", key].map(str::to_owned);
    let with = |arguments: &[&str], key: &'static str| {
        let service = by(key);
        let service = service.iter().map(String::as_str);
        let arguments: Vec<&str> = arguments.iter().copied().chain(service).collect();
        ingest(&arguments)
    };
    let admin = home.join("admin.token");
    std::fs::write(&admin, ADMIN).unwrap();
    std::fs::set_permissions(&admin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let create = ["workspace", "create", "acme"];
    let (code, text) = with(&create, "root.pem");
    assert_eq!(code, 2, "nobody opens a workspace without a token: {text}");
    let (code, text) =
        with(&[&create[..], &["--admin-token-file", "admin.token"]].concat(), "root.pem");
    assert_eq!(code, 0, "{text}");
    let (code, text) = with(
        &["key", "register", "acme", &agent, "--role", "agent", "--actor-id", "a1"],
        "root.pem",
    );
    assert_eq!(code, 0, "{text}");

    let workspace = Workspace::new("acme").unwrap();
    let events = Agent::new(&workspace, "a1", 9).events(250, SystemClock.now());
    let file = home.join("events.ndjson");
    std::fs::write(&file, [events.join(&b'\n').as_slice(), b"\n"].concat()).unwrap();
    let submit = [
        "submit",
        "events.ndjson",
        "--workspace",
        "acme",
        "--receipts",
        "receipts",
        "--origin",
        rig.origin.as_str(),
    ];
    let (code, text) = with(&submit, "agent.pem");
    assert_eq!((code, text.as_str()), (0, "250 events recorded in 3 submissions\n"));
    assert_eq!(std::fs::read_dir(home.join("receipts")).unwrap().count(), 3);
    let (code, text) = with(&submit, "agent.pem");
    assert_eq!(
        (code, text.as_str()),
        (0, "0 events recorded in 0 submissions\n"),
        "nothing is new"
    );

    // Refused by the ledger: 1. The key was never registered; the event's bytes are no event.
    done(&["keygen", "--out", "stranger.pem"]);
    let (code, text) = with(&submit, "stranger.pem");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("is not registered in this workspace"), "{text}");
    std::fs::write(home.join("broken.ndjson"), "{\"event_id\":1}\n").unwrap();
    let (code, text) = with(&["submit", "broken.ndjson", "--workspace", "acme"], "agent.pem");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("broken.ndjson:1: "), "{text}");
    let (code, text) = with(&["key", "revoke", "acme", &root, "--reason", "lost"], "root.pem");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("last root key"), "{text}");
    assert_eq!(serving.stop(), Some(0), "SIGTERM drains and ends well");
    let (code, text) = with(
        &["submit", "events.ndjson", "--workspace", "acme", "--give-up-after", "0"],
        "agent.pem",
    );
    assert_eq!(code, 3, "nobody listens: {text}");

    let archiver =
        |arguments: &[&str]| run(program("tally-archiver").args(arguments).current_dir(&home));
    let (code, text) = archiver(&["seal"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("23 events in 2 chunks"), "the hour of the past: {text}");
    let (code, text) = archiver(&["seal"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nothing to seal"), "the hour of the journey has not closed: {text}");
    let verify = |arguments: &[&str]| {
        let mut command = program("tally-verify");
        run(command.args(["verify", "--archive", "archive"]).args(arguments).current_dir(&home))
    };
    let (code, text) = verify(&["--trust", "trust.toml"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("PROVEN"), "{text}");
    let (code, text) =
        verify(&["--trust", "trust.toml", "--expect-through", "2999-01-01T00:00:00Z"]);
    assert_eq!(code, 4, "short of what is expected: {text}");
    assert_eq!(verify(&["--trust", "absent.toml"]).0, 2);

    // An event of the past for somebody else; and the receipts, whose hour is not sealed yet.
    let auditor = |arguments: &[&str]| {
        let mut command = program("tally-verify");
        run(command.args(arguments).args(["--trust", "trust.toml"]).current_dir(&home))
    };
    let archive = ["--archive", "archive"];
    let prove = ["prove", "--workspace", "past", "--seq", "9", "--out", "9.proof"];
    let (code, text) = auditor(&[&prove[..], &archive].concat());
    assert!(code == 0 && text.contains("past seq 9"), "{text}");
    let (code, text) = auditor(&["check", "9.proof"]);
    assert!(code == 0 && text.starts_with("PROVEN"), "{text}");
    let (code, text) = auditor(&[&["receipt", "receipts"][..], &archive].concat());
    assert!(code == 4 && text.contains("T132"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_settings_and_keys_end_with_their_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    let rig = ledger_with_a_past(directory.path()).await;
    let home = rig.directory.clone();
    let settings = std::fs::read_to_string(home.join("tally.toml")).unwrap();
    let fails = |name: &str, arguments: &[&str], code: i32, says: &str| {
        let (found, text) = run(program(name).args(arguments).current_dir(&home));
        assert_eq!(found, code, "{name} {arguments:?}: {text}");
        assert!(text.contains(says), "{name} {arguments:?} does not say {says:?}: {text}");
    };
    // Usage.
    fails("tally-ingest", &["serve", "--clock", "1970"], 2, "--clock");
    fails("tally-archiver", &["seal", "--now", "1970"], 2, "--now");
    fails("tally-verify", &["verify"], 2, "--archive");
    // Keys.
    fails("tally-ingest", &["keygen", "--out", "keys/seal.pem"], 2, "seal.pem");
    std::fs::write(home.join("open.pem"), "no key").unwrap();
    fails("tally-ingest", &["serve", "--receipt-key", "open.pem"], 2, "chmod 600");
    fails("tally-archiver", &["seal", "--seal-key", "open.pem"], 2, "chmod 600");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.join("open.pem"), private).unwrap();
    fails("tally-ingest", &["serve", "--receipt-key", "open.pem"], 2, "PKCS#8");
    fails("tally-archiver", &["seal", "--seal-key", "open.pem"], 2, "PKCS#8");
    fails("tally-ingest", &["serve", "--receipt-key", "absent.pem"], 2, "absent.pem");
    // Another ledger: nothing is served, nothing is sealed.
    let other = "elsewhere.example.com/x";
    fails("tally-ingest", &["serve", "--origin", other], 2, "belongs to the ledger");
    fails("tally-archiver", &["seal", "--origin", other], 4, "the database of");
    assert!(!home.join("archive/log").exists(), "nothing was sealed");
    // Settings.
    fails("tally-ingest", &["serve", "--config", "absent.toml"], 2, "absent.toml");
    std::fs::write(home.join("tally.toml"), settings.replace("listen", "lisen")).unwrap();
    fails("tally-ingest", &["serve"], 2, "lisen");
    std::fs::write(home.join("tally.toml"), settings.replace("[archive]", "[archive]\nclock = 0"))
        .unwrap();
    fails("tally-archiver", &["seal"], 2, "clock");
    std::fs::write(home.join("tally.toml"), "[ledger]\n").unwrap();
    fails("tally-ingest", &["serve"], 2, "ledger.origin");
    fails("tally-archiver", &["seal"], 2, "ledger.origin");
    let (code, text) = run(program("tally-ingest").arg("serve").env("TALLY_INGEST_LISEN", "x"));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("TALLY_INGEST_LISEN"), "{text}");
}
