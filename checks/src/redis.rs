//! Redis to test with: a server of its own, which stores each message on disk before it answers.
//!
//! Not here: what must come of it (see `tests/queue`).

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use ingest::queue::Message;
use redis::aio::MultiplexedConnection;
use tokio::process::{Child, Command};

use crate::rig::Failure;
use crate::service::free_address;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Settings under which nothing that was acknowledged is lost.
pub const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// A server. Killed when it is dropped.
pub struct Redis {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
    settings: Vec<String>,
    /// Its URL.
    pub url: String,
}

impl Redis {
    /// Starts one that stores what it acknowledges, with what it has below `directory`.
    pub async fn start(directory: &Path) -> Result<Self, Failure> {
        Self::start_with(directory, &DURABLE).await
    }

    /// Starts one with other settings, and nothing else.
    pub async fn start_with(directory: &Path, settings: &[&str]) -> Result<Self, Failure> {
        let address = free_address()?;
        let directory = directory.join(format!("redis-{}", address.port()));
        std::fs::create_dir(&directory)?;
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        let child = spawn(&directory, address, &settings)?;
        let url = format!("redis://{address}");
        let server = Self { child, address, directory, settings, url };
        server.answers().await?;
        Ok(server)
    }

    /// A replica of it.
    pub async fn replica(&self) -> Result<Self, Failure> {
        let directory = self.directory.parent().ok_or("it has no directory")?;
        let of = format!("{} {}", self.address.ip(), self.address.port());
        Self::start_with(directory, &[&DURABLE[..], &["--replicaof", &of]].concat()).await
    }

    /// Kills it (SIGKILL).
    pub async fn kill(&mut self) -> Result<(), Failure> {
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// Starts it again at the same address, with what it had on disk.
    pub async fn start_again(&mut self) -> Result<(), Failure> {
        self.child = spawn(&self.directory, self.address, &self.settings)?;
        self.answers().await
    }

    async fn answers(&self) -> Result<(), Failure> {
        let start = Instant::now();
        loop {
            let asked = async {
                let mut connection = self.connection().await?;
                redis::cmd("PING").query_async::<String>(&mut connection).await
            };
            match asked.await {
                Ok(_) => return Ok(()),
                Err(error) if start.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// A connection to it.
    pub async fn connection(&self) -> Result<MultiplexedConnection, redis::RedisError> {
        let client = redis::Client::open(self.url.as_str())?;
        client.get_multiplexed_async_connection().await
    }

    /// What it answers to a command.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> Result<T, Failure> {
        let mut connection = self.connection().await?;
        let (name, arguments) = command.split_first().ok_or("no command")?;
        Ok(redis::cmd(name).arg(arguments).query_async(&mut connection).await?)
    }

    /// Puts a message into a stream, without any of the service's care; gives its id.
    pub async fn put(&self, stream: &str, id: &str, message: &Message) -> Result<String, Failure> {
        let mut connection = self.connection().await?;
        let mut add = redis::cmd("XADD");
        add.arg(stream).arg(id);
        add.arg("key").arg(&*message.key).arg("value").arg(&*message.value);
        for (name, value) in &message.headers {
            add.arg(name).arg(&**value);
        }
        Ok(add.query_async(&mut connection).await?)
    }
}

fn spawn(directory: &Path, address: SocketAddr, settings: &[String]) -> Result<Child, Failure> {
    let log = File::options().create(true).append(true).open(directory.join("redis.log"))?;
    let mut command = std::process::Command::new(program()?);
    command
        // One program serves or checks files, by the name under which it is called.
        .arg0("redis-server")
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--save", "", "--dir"])
        .arg(directory)
        .args(settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(Command::from(command).kill_on_drop(true).spawn()?)
}

fn program() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = ["redis-server", "redis-check-rdb"].into_iter().find_map(|name| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|file| file.is_file())
    });
    found.ok_or_else(|| "Redis is not there: make tools-redis".into())
}
