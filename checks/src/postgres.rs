//! A Postgres of one's own: started for a test, killed at will, gone afterwards.
//!
//! Here: a private cluster on a free port, with a fresh database for each test; a standby that
//! follows it and may take over. Not here: what is in it (see `tally-ingest migrate`).

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the server may take to accept connections.
const START: Duration = Duration::from_secs(30);
/// How often that is asked.
const ASK: Duration = Duration::from_millis(20);
/// Who owns the cluster where the test runs as root, which Postgres refuses to run as.
const OWNERS: [&str; 2] = ["postgres", "nobody"];

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The programs are not there.
    #[error("Postgres is not installed; on Debian: sudo apt-get install postgresql-15")]
    NotInstalled,
    /// A file or process could not be made.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A program of Postgres failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it printed.
        output: String,
    },
    /// The server does not accept connections.
    #[error("the server did not start: {log}")]
    NotStarted {
        /// The end of its log.
        log: String,
    },
}

fn io(what: &'static str) -> impl Fn(io::Error) -> PostgresError {
    move |source| PostgresError::Io { what, source }
}

/// What a server is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether a commit waits for the disk. Off is quicker, and loses nothing when only processes
    /// are killed; on is what production has.
    pub fsync: bool,
}

/// A server and its data. Dropping it stops the one and removes the other.
#[derive(Debug)]
pub struct Postgres {
    dir: TempDir,
    bin: PathBuf,
    owner: Option<(u32, u32)>,
    options: Options,
    /// More settings, each as `name=value`; they overrule our own.
    settings: Vec<String>,
    port: u16,
    /// Whether anybody has been told the port, which then stays.
    is_known: bool,
    server: Option<Child>,
    databases: AtomicU32,
}

impl Postgres {
    /// Makes a cluster and starts its server, with fsync off.
    pub fn start() -> Result<Self, PostgresError> {
        Self::with(Options { fsync: false })
    }

    /// Makes a cluster and starts its server.
    pub fn with(options: Options) -> Result<Self, PostgresError> {
        Self::within(&std::env::temp_dir(), options, &[])
    }

    /// Makes a cluster below a directory, with more settings (`name=value`), and starts its server.
    pub fn within(
        parent: &Path,
        options: Options,
        settings: &[&str],
    ) -> Result<Self, PostgresError> {
        let mut cluster = Self::empty(parent, options, settings)?;
        let data = cluster.data();
        let mut initdb = cluster.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--data-checksums", "--no-sync", "--no-instructions"]);
        run("initdb", initdb.arg("--pgdata").arg(data))?;
        cluster.start_again()?;
        Ok(cluster)
    }

    /// Copies this cluster and starts the copy as a standby that follows it.
    pub fn standby(&self) -> Result<Self, PostgresError> {
        let mut standby = Self::empty(&std::env::temp_dir(), self.options, &[])?;
        let mut copy = standby.command("pg_basebackup");
        copy.args(["--host=127.0.0.1", "--username=postgres", "--checkpoint=fast"]);
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--no-sync"]);
        copy.args(["--port", &self.port.to_string(), "--pgdata"]).arg(standby.data());
        run("pg_basebackup", &mut copy)?;
        standby.start_again()?;
        Ok(standby)
    }

    /// Makes a standby take over.
    pub fn promote(&self) -> Result<(), PostgresError> {
        let mut promote = self.command("pg_ctl");
        promote.args(["promote", "--wait", "--silent", "--pgdata"]);
        run("pg_ctl", promote.arg(self.data()))
    }

    /// A directory, and nothing in it yet.
    fn empty(parent: &Path, options: Options, settings: &[&str]) -> Result<Self, PostgresError> {
        let bin = programs().ok_or(PostgresError::NotInstalled)?;
        let dir = tempfile::Builder::new().prefix("tally-postgres-").tempdir_in(parent);
        let dir = dir.map_err(io("making a directory"))?;
        let owner = owner(dir.path())?;
        let cluster = Self {
            dir,
            bin,
            owner,
            options,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            port: 0,
            is_known: false,
            server: None,
            databases: AtomicU32::new(0),
        };
        cluster.give(cluster.dir.path())?;
        Ok(cluster)
    }

    /// Gives a directory to the server, as for a tablespace.
    pub fn give(&self, directory: &Path) -> Result<(), PostgresError> {
        let Some((user, group)) = self.owner else {
            return Ok(());
        };
        chown(directory, Some(user), Some(group)).map_err(io("giving the directory away"))
    }

    /// Starts the server after it was killed or stopped, on the same port.
    pub fn start_again(&mut self) -> Result<(), PostgresError> {
        let deadline = Instant::now() + START;
        loop {
            let mut server = self.spawn()?;
            while Instant::now() < deadline {
                if self.is_ready()? {
                    self.server = Some(server);
                    self.is_known = true;
                    return Ok(());
                }
                // It ends by itself where its port was taken meanwhile, or where processes of a
                // server that was killed still hold its memory.
                if server.try_wait().map_err(io("waiting"))?.is_some() {
                    break;
                }
                std::thread::sleep(ASK);
            }
            if Instant::now() >= deadline {
                let _ = server.kill();
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                return Err(PostgresError::NotStarted { log });
            }
            std::thread::sleep(ASK);
        }
    }

    fn spawn(&mut self) -> Result<Child, PostgresError> {
        if !self.is_known {
            self.port = free_port()?;
        }
        let log = fs::File::options().create(true).append(true).open(self.log());
        let log = log.map_err(io("opening the log"))?;
        let fsync = if self.options.fsync { "on" } else { "off" };
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data());
        server.arg("-k").arg(self.dir.path());
        server.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        for setting in ["shared_buffers=128MB", "max_connections=200", "max_wal_size=4GB"] {
            server.args(["-c", setting]);
        }
        server.args(["-c", &format!("fsync={fsync}")]);
        for setting in &self.settings {
            server.args(["-c", setting]);
        }
        server.stdin(Stdio::null());
        server.stdout(log.try_clone().map_err(io("opening the log"))?);
        server.stderr(log).spawn().map_err(io("starting the server"))
    }

    fn is_ready(&self) -> Result<bool, PostgresError> {
        let mut ask = self.command("pg_isready");
        ask.args(["--quiet", "--host=127.0.0.1", "--port", &self.port.to_string()]);
        let status = ask.status().map_err(io("asking the server"))?;
        Ok(status.success())
    }

    /// Whether the server runs: it may have ended by itself.
    pub fn is_running(&mut self) -> bool {
        let server = self.server.as_mut();
        server.is_some_and(|server| matches!(server.try_wait(), Ok(None)))
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port)
    }

    /// The same database by the server's Unix socket, which is the fastest way to it.
    pub fn by_socket(&self, url: &str) -> String {
        let database = url.rsplit('/').next().unwrap_or_default();
        let (host, port) = (self.dir.path().display(), self.port);
        format!("postgres://postgres@localhost/{database}?host={host}&port={port}")
    }

    /// The process of the server.
    pub fn pid(&self) -> Result<u32, PostgresError> {
        let server = self.server.as_ref().map(Child::id);
        server.ok_or(PostgresError::NotStarted { log: "it was stopped".to_owned() })
    }

    /// The URL of the database that every server has.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// Makes an empty database and gives its URL.
    pub fn database(&self) -> Result<String, PostgresError> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = self.command("createdb");
        createdb.args(["--host=127.0.0.1", "--username=postgres"]);
        createdb.args(["--port", &self.port.to_string(), &name]);
        run("createdb", &mut createdb)?;
        Ok(self.url_of(&name))
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Kills the server as the kernel would: nothing is tidied up.
    pub fn kill_9(&mut self) -> Result<(), PostgresError> {
        if let Some(mut server) = self.server.take() {
            server.kill().map_err(io("killing the server"))?;
            server.wait().map_err(io("waiting"))?;
        }
        Ok(())
    }

    /// Stops the server at once: connections break off, and the next start recovers.
    pub fn stop_immediate(&mut self) -> Result<(), PostgresError> {
        if let Some(mut server) = self.server.take() {
            let mut stop = self.command("pg_ctl");
            stop.args(["stop", "--mode=immediate", "--silent", "--pgdata"]);
            run("pg_ctl", stop.arg(self.data()))?;
            server.wait().map_err(io("waiting"))?;
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// A program of Postgres, run as the cluster's owner.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(self.dir.path());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Where stopping fails the process is killed; where that fails too there is none.
        if self.stop_immediate().is_err() {
            let _ = self.kill_9();
        }
    }
}

fn run(program: &'static str, command: &mut Command) -> Result<(), PostgresError> {
    let output = command.output().map_err(io("starting a program"))?;
    if output.status.success() {
        return Ok(());
    }
    let output = [output.stdout, output.stderr].concat();
    let output = String::from_utf8_lossy(&output).into_owned();
    Err(PostgresError::Failed { program, output })
}

/// The directory with the newest version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let newest = versions
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .map(|version| Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
}

/// Who is to own the cluster: whoever runs the test, unless that is root.
fn owner(dir: &Path) -> Result<Option<(u32, u32)>, PostgresError> {
    use std::os::unix::fs::MetadataExt as _;
    if fs::metadata(dir).map_err(io("looking at the directory"))?.uid() != 0 {
        return Ok(None);
    }
    let id = |flag: &str, user: &str| -> Option<u32> {
        let output = Command::new("id").args([flag, user]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    let owner = OWNERS.iter().find_map(|user| Some((id("-u", user)?, id("-g", user)?)));
    owner.map(Some).ok_or(PostgresError::NotInstalled)
}

fn free_port() -> Result<u16, PostgresError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(io("finding a port"))?;
    let address = listener.local_addr().map_err(io("finding a port"))?;
    Ok(address.port())
}
