//! The ingest service in a process of its own, so that it can die.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::rig::{Failure, Rig};
use crate::token;

/// How long a service may take to listen, and to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running service. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
}

/// The first of the ports for servers, and how many there are: below those that the system gives out by
/// itself, so that none is given to a connection between its choice and its use.
const PORTS: (u64, u64) = (20_000, 12_000);

/// An address on this machine that nothing listens on.
pub fn free_address() -> io::Result<SocketAddr> {
    let mut taken = io::Error::other("there are no ports");
    for _ in 0..100 {
        let port = PORTS.0 + RandomState::new().hash_one(()) % PORTS.1;
        let port = u16::try_from(port).map_err(io::Error::other)?;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => taken = error,
        }
    }
    Err(taken)
}

/// The URL of a service that listens there.
pub fn base(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Whether whoever listens there says anything to a request.
async fn answers(address: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        stream.read(&mut [0]).await
    };
    asked.await.is_ok_and(|bytes: usize| bytes > 0)
}

impl Process {
    /// Starts `tally-ingest-under-fault` on the rig's ledger, with what it says in the rig's
    /// `service.log`. It does not wait: the service may die before it listens.
    pub fn start(
        program: &Path,
        rig: &Rig,
        address: SocketAddr,
        arguments: &[&str],
    ) -> io::Result<Self> {
        Self::start_on(program, rig, &rig.postgres.url(), address, arguments)
    }

    /// Starts it on the database at `url`, which may be a way round to the rig's own.
    pub fn start_on(
        program: &Path,
        rig: &Rig,
        url: &str,
        address: SocketAddr,
        arguments: &[&str],
    ) -> io::Result<Self> {
        let log =
            File::options().create(true).append(true).open(rig.directory.join("service.log"))?;
        let child = Command::new(program)
            // First, as a command of its own may stand among them.
            .args(arguments)
            .args(["--origin", rig.origin.as_str(), "--database-url", url])
            .args(["--listen", &address.to_string()])
            .arg("--receipt-key")
            .arg(rig.receipt_key())
            .arg("--custodian-key")
            .arg(rig.custodian_key())
            .args(["--admin-token-hash", &token::admin_setting()])
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, address })
    }

    /// Its process.
    pub fn pid(&self) -> io::Result<u32> {
        self.child.id().ok_or_else(|| io::Error::other("the service has ended"))
    }

    /// Waits until the service answers: it listens before it has looked into its database, and may
    /// still end then.
    pub async fn listening(&mut self) -> Result<(), Failure> {
        let listens = async {
            while !answers(self.address).await {
                if let Some(status) = self.child.try_wait()? {
                    return Err(format!("the service ended before it listened: {status}").into());
                }
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, listens).await.map_err(|_| "the service does not listen")?
    }

    /// Waits until the service has ended by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus, Failure> {
        let ended = timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.map_err(|_| "the service does not end")??)
    }

    /// Tells the service to end (SIGTERM), and waits until it has.
    pub async fn stop(mut self) -> Result<ExitStatus, Failure> {
        self.terminate().await?;
        self.ended().await
    }

    /// Tells the service to end (SIGTERM), and does not wait.
    pub async fn terminate(&self) -> io::Result<()> {
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg(pid.to_string()).status().await?;
        }
        Ok(())
    }

    /// Kills the service (SIGKILL), and waits until it is gone.
    pub async fn kill(mut self) -> io::Result<ExitStatus> {
        self.child.start_kill()?;
        self.child.wait().await
    }

    /// What the service holds of memory, in KiB: now, and at most so far. Linux only.
    pub fn memory_kib(&self) -> io::Result<(u64, u64)> {
        let gone = || io::Error::other("the service has ended");
        let pid = self.child.id().ok_or_else(gone)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok())
        };
        field("VmRSS:").zip(field("VmHWM:")).ok_or_else(gone)
    }
}
