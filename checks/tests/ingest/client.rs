//! The commands of `tally-ingest` that an agent's operator runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ledger::note::Note;
use ledger::receipt::Receipt;

use crate::world::{ORIGIN, World, plain, receipt_key};

/// A directory with keys, and the service that its commands speak to.
struct Shell {
    program: PathBuf,
    dir: tempfile::TempDir,
    url: String,
}

impl Shell {
    fn new(world: &World) -> Self {
        let program = checks::bin_path::tally("tally-ingest");
        let shell =
            Self { program, dir: tempfile::tempdir().unwrap(), url: world.agent.base.clone() };
        for name in ["root.pem", "agent.pem"] {
            shell.done(&["keygen", "--out", name]);
        }
        shell
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir.path()).env_clear().args(arguments);
        command.env("TALLY_ADMIN_TOKEN", checks::token::ADMIN);
        command.output().unwrap()
    }

    /// Runs a command that must do what it is asked to.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a command that must fail; gives its exit code and what it says.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn submit<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let own = ["submit", "events.ndjson", "--workspace", "acme", "--key", "agent.pem"];
        let url = ["--url", &self.url, "--receipts", "receipts", "--give-up-after", "1"];
        [&own, &url[..], more].concat()
    }

    /// A workspace `acme` with the agent's key in force.
    fn set_up(&self) {
        let root = ["--url", self.url.as_str(), "--key", "root.pem"];
        self.done(&[&["workspace", "create", "acme"], &root[..]].concat());
        let agent = self.done(&["key", "show", "--key", "agent.pem"]);
        let register = ["key", "register", "acme", &agent, "--role", "agent"];
        self.done(&[&register, &root[..]].concat());
    }

    fn write_events(&self, events: std::ops::Range<u64>) {
        let lines: Vec<_> = events.map(plain).collect();
        fs::write(self.path("events.ndjson"), [lines.join(&b'\n'), b"\n".to_vec()].concat())
            .unwrap();
    }

    fn receipts(&self) -> Vec<String> {
        let files = fs::read_dir(self.path("receipts")).unwrap();
        let mut texts: Vec<_> =
            files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        texts.sort_unstable();
        texts
    }
}

async fn empty() -> World {
    World::empty(std::sync::Arc::new(ingest::chain::NoProbe)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_submitted_once_and_carried_on() {
    let mut world = empty().await;
    let shell = Shell::new(&world);
    shell.set_up();
    shell.write_events(100..350);
    assert_eq!(shell.done(&shell.submit(&[])), "250 events recorded in 3 submissions");
    assert_eq!(shell.done(&shell.submit(&[])), "0 events recorded in 0 submissions");
    shell.write_events(100..360);
    assert_eq!(shell.done(&shell.submit(&[])), "10 events recorded in 1 submissions");
    assert_eq!(world.entries().await, 262);
    let receipts = shell.receipts();
    assert_eq!(receipts.len(), 4);
    for note in receipts {
        let body = Note::parse(note.as_bytes()).unwrap().verify(&receipt_key()).unwrap();
        assert_eq!(Receipt::parse(body).unwrap().workspace.as_str(), "acme");
    }
    // A file that begins anew is another file: its events are.
    shell.write_events(400..410);
    assert_eq!(shell.done(&shell.submit(&[])), "10 events recorded in 1 submissions");
    let counters: Vec<i64> =
        sqlx::query_scalar("SELECT counter FROM submissions WHERE counter > 0 ORDER BY first_seq")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    assert_eq!(counters, [1, 2, 3, 4, 5]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_that_was_not_answered_is_sent_again_as_it_was() {
    let mut world = empty().await;
    let shell = Shell::new(&world);
    shell.set_up();
    shell.write_events(100..350);
    let state = shell.path("agent.pem.acme.state");

    // Asked who it is, the service still answers: it is its database that is gone.
    world.postgres.kill_9().unwrap();
    let (code, error) = shell.fails(&shell.submit(&[]));
    assert_eq!(code, 3, "{error}");
    let unanswered = fs::read(&state).unwrap();
    world.postgres.start_again().unwrap();
    assert_eq!(shell.done(&shell.submit(&[])), "250 events recorded in 3 submissions");
    let receipts = shell.receipts();

    // As if it had been recorded and the answer lost: the same bytes, the same receipts.
    fs::write(&state, unanswered).unwrap();
    fs::remove_dir_all(shell.path("receipts")).unwrap();
    assert_eq!(shell.done(&shell.submit(&[])), "250 events recorded in 3 submissions");
    assert_eq!(shell.receipts(), receipts);
    assert_eq!(world.entries().await, 252);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_submitted_is_said_before_it_is_sent() {
    let mut world = empty().await;
    let shell = Shell::new(&world);
    shell.set_up();
    let url = shell.url.clone();

    let lines = [plain(100), plain(101), b"{\"event_id\":7}".to_vec()];
    fs::write(shell.path("events.ndjson"), lines.join(&b'\n')).unwrap();
    let (code, error) = shell.fails(&shell.submit(&[]));
    assert!(
        code == 1 && error.contains("events.ndjson:3: ") && error.contains("/event_id"),
        "{error}"
    );
    let (code, error) = shell.fails(&shell.submit(&["--batch", "1"]));
    assert!(code == 1 && error.contains("events.ndjson:3: "), "{error}");
    assert_eq!(world.entries().await, 4, "the batches before it were sent");

    // A refusal is told with its reasons, and uses up no counter.
    shell.write_events(101..103);
    let (code, error) = shell.fails(&shell.submit(&[]));
    assert!(code == 1 && error.contains("event-exists") && error.contains("seq 4"), "{error}");
    shell.write_events(102..103);
    shell.done(&shell.submit(&[]));

    let other = "ledger.example.com/other";
    let (code, error) = shell.fails(&shell.submit(&["--origin", other]));
    assert!(code == 2 && error.contains(ORIGIN), "{error}");
    let forged = ledger::note::VerifierKey::receipt(
        &ledger::names::Origin::new(ORIGIN).unwrap(),
        crate::world::key(8).public(),
    );
    shell.write_events(103..104);
    let (code, error) = shell.fails(&shell.submit(&["--receipt-key", &forged.to_string()]));
    assert!(code == 1 && error.contains("receipt cannot be trusted"), "{error}");
    // It was recorded all the same: the right key finds the receipt.
    assert_eq!(shell.done(&shell.submit(&[])), "1 events recorded in 1 submissions");

    let root = shell.path("root.pem");
    set_mode(&root, 0o644);
    let revoke = ["key", "revoke", "acme", "--url", &url, "--key", "root.pem", "--reason", "x"];
    let agent = shell.done(&["key", "show", "--key", "agent.pem"]);
    let revoke = [&revoke[..], &[&agent]].concat();
    let (code, error) = shell.fails(&revoke);
    assert!(code == 2 && error.contains("chmod 600"), "{error}");
    set_mode(&root, 0o600);
    let receipt = shell.done(&[&revoke[..], &["--json"]].concat());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&receipt).unwrap()["last_seq"], 7);
    shell.write_events(104..105);
    let (code, error) = shell.fails(&shell.submit(&[]));
    assert!(code == 1 && error.contains("revoked"), "{error}");
    world.stop().await;
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
