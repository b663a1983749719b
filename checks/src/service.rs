//! The ingest service in a process of its own, so that it can die.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::rig::{Failure, Rig};

/// How long a service may take to listen, and to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running service. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
}

/// An address on this machine that nothing listens on.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The URL of a service that listens there.
pub fn base(address: SocketAddr) -> String {
    format!("http://{address}")
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
        let log =
            File::options().create(true).append(true).open(rig.directory.join("service.log"))?;
        let child = Command::new(program)
            .args(["--origin", rig.origin.as_str(), "--database-url", &rig.postgres.url()])
            .args(["--listen", &address.to_string()])
            .arg("--receipt-key")
            .arg(rig.receipt_key())
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child, address })
    }

    /// Waits until the service listens.
    pub async fn listening(&mut self) -> Result<(), Failure> {
        let listens = async {
            while TcpStream::connect(self.address).await.is_err() {
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
        if let Some(pid) = self.child.id() {
            Command::new("kill").arg(pid.to_string()).status().await?;
        }
        self.ended().await
    }
}
