//! What is left behind by a program that was told to end.

use std::cell::RefCell;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use checks::bin_path::tally;
use checks::forge::golden_path;
use tempfile::TempDir;

/// A store that takes connections and answers nothing.
struct Silent {
    directory: TempDir,
    listener: TcpListener,
    asked: RefCell<Vec<TcpStream>>,
}

impl Silent {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let trust = golden_path().join("trust.toml");
        fs::copy(trust, directory.path().join("trust.toml")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { directory, listener, asked: RefCell::default() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn start(&self, program: &Path, arguments: &[&str]) -> Child {
        let endpoint = format!("http://{}", self.listener.local_addr().unwrap());
        let mut command = Command::new(program);
        command.current_dir(self.path()).env_clear().args(arguments);
        command.args(["--archive", "s3://silent/here", "--trust", "trust.toml"]);
        command.args(["--s3-endpoint", &endpoint, "--s3-region", "here"]);
        command.env("AWS_ACCESS_KEY_ID", "me").env("AWS_SECRET_ACCESS_KEY", "mine");
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // From here on it waits for an answer.
        self.asked.borrow_mut().push(self.listener.accept().unwrap().0);
        child
    }

    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "trust.toml").collect();
        names.sort();
        names
    }

    /// Waits until these are there, and no others.
    #[track_caller]
    fn wait(&self, names: &[&str]) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.left() != names {
            assert!(Instant::now() < end, "{:?}", self.left());
            sleep(Duration::from_millis(10));
        }
    }
}

fn send(child: &Child, signal: &str) {
    let done = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(done.unwrap().success());
}

/// Whether it is still at work a moment later.
fn goes_on(child: &mut Child) -> bool {
    sleep(Duration::from_millis(300));
    child.try_wait().unwrap().is_none()
}

const OUTPUTS: [&str; 6] =
    ["verify", "--any-age", "--html", "page", "--keep-checkpoint", "checkpoint"];

#[test]
fn the_second_signal_ends_at_once_and_leaves_nothing() {
    let store = Silent::new();
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let mut child = store.start(&tally("tally-verify"), &OUTPUTS);
        store.wait(&["checkpoint.new", "page.new"]);
        send(&child, signal);
        assert!(goes_on(&mut child), "{signal}: the first asks for an end in order");
        assert_eq!(store.left(), ["checkpoint.new", "page.new"]);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert_eq!(store.left(), [""; 0], "{signal}");
    }
    let replay = ["replay", "--any-age", "--out", "entries", "--position", "done"];
    let mut child = store.start(&tally("tally-verify"), &replay);
    store.wait(&["done.new", "entries.new"]);
    send(&child, "-HUP");
    send(&child, "-TERM");
    child.wait().unwrap();
    assert_eq!(store.left(), [""; 0]);
}

#[test]
fn a_proof_in_the_making_goes_with_the_first_signal() {
    let store = Silent::new();
    // Somebody else's stays.
    fs::write(store.path().join("x.proof.new"), "mine").unwrap();
    let prove = ["prove", "--workspace", "acme", "--seq", "70", "--out"];
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let mut child = store.start(&tally("tally-verify"), &[&prove[..], &["y.proof"]].concat());
        store.wait(&["x.proof.new", "y.proof.new"]);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert_eq!(store.left(), ["x.proof.new"], "{signal}");
    }
}

#[test]
fn a_program_that_is_to_outlive_its_terminal_does() {
    let store = Silent::new();
    let program = tally("tally-verify");
    let program = program.to_str().unwrap();
    let under = [&[program][..], &OUTPUTS].concat();
    let mut child = store.start(Path::new("/usr/bin/nohup"), &under);
    store.wait(&["checkpoint.new", "page.new"]);
    send(&child, "-HUP");
    send(&child, "-HUP");
    assert!(goes_on(&mut child));
    send(&child, "-TERM");
    send(&child, "-TERM");
    let ended = child.wait().unwrap();
    assert!(ended.code().is_some() && ended.signal().is_none(), "{ended}");
}
