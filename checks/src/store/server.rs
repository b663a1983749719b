//! Servers that speak S3, each on a port of its own.
//!
//! Here: `s3s-fs`, which keeps objects as files and heeds conditions, and `moto`, which has Object
//! Lock. `make tools-s3` installs both.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use tempfile::TempDir;
use verifier::store::S3Settings;
use verifier::store::s3::connect::connect_with;

use super::{BUCKET, PREFIX};
use crate::rig::Failure;
use crate::service::free_address;
use crate::tools::tool;

/// How long a server may take to listen: moto loads much of Python first.
const START: Duration = Duration::from_secs(60);

/// The login that the servers take.
const LOGIN: (&str, &str) = ("tally-test", "not-a-secret");

/// A running server with one bucket. It ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(
        mut command: Command,
        address: SocketAddr,
        directory: TempDir,
    ) -> Result<Self, Failure> {
        let log = File::create(directory.path().join("server.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn()?;
        let mut server = Self { child, address, directory };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if server.child.try_wait()?.is_some() || start.elapsed() > START {
                let log = fs::read_to_string(server.directory.path().join("server.log"))?;
                return Err(format!("the object store does not listen: {log}").into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Starts `s3s-fs`.
    pub fn files() -> Result<Self, Failure> {
        let (directory, address) = (tempfile::tempdir()?, free_address()?);
        let root = directory.path().join("store");
        fs::create_dir_all(root.join(BUCKET))?;
        let mut command = Command::new(tool("tools/bin/s3s-fs")?);
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--access-key", LOGIN.0, "--secret-key", LOGIN.1]).arg(root);
        Self::start(command, address, directory)
    }

    /// Starts `moto`, with a bucket whose objects are locked for a day when they are written, in
    /// compliance mode.
    pub async fn locking() -> Result<Self, Failure> {
        let (directory, address) = (tempfile::tempdir()?, free_address()?);
        let mut command = Command::new(tool("venv/bin/moto_server")?);
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        let server = Self::start(command, address, directory)?;
        let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                    <DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention>\
                    </Rule></ObjectLockConfiguration>";
        let bucket = reqwest::Client::new()
            .put(format!("{}/{BUCKET}", server.endpoint()))
            .header("x-amz-bucket-object-lock-enabled", "true");
        let lock = reqwest::Client::new()
            .put(format!("{}/{BUCKET}?object-lock", server.endpoint()))
            .body(rule);
        for request in [bucket, lock] {
            let answer = request.header("authorization", Self::signed_somehow()).send().await?;
            let status = answer.status();
            if !status.is_success() {
                return Err(format!("moto: {status}: {}", answer.text().await?).into());
            }
        }
        Ok(server)
    }

    /// A header that moto takes for a signature: it checks none, and wants one to be there.
    pub fn signed_somehow() -> String {
        let scope = "20260101/us-east-1/s3/aws4_request";
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host, Signature=0", LOGIN.0)
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The variables that a program of ours needs to work with it.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("TALLY_ARCHIVE_S3_ENDPOINT", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", LOGIN.0.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", LOGIN.1.to_owned()),
        ]
    }

    /// How its bucket is reached.
    fn settings(&self) -> S3Settings {
        S3Settings { endpoint: Some(self.endpoint()), ..S3Settings::default() }
    }

    /// A connection to its bucket.
    pub fn connect(&self) -> Result<AmazonS3, Failure> {
        connect(&self.settings())
    }

    /// The directory in which `s3s-fs` keeps the archive's objects.
    pub fn archive(&self) -> PathBuf {
        self.directory.path().join("store").join(BUCKET).join(PREFIX)
    }

    /// Flips a bit in the middle of an object, behind the server's back.
    pub fn flip(&self, key: &str) -> io::Result<()> {
        flip(&self.archive().join(key))
    }
}

/// A connection to the bucket by these settings, with the login that the servers take.
pub fn connect(settings: &S3Settings) -> Result<AmazonS3, Failure> {
    let login = AmazonS3Builder::new().with_access_key_id(LOGIN.0).with_secret_access_key(LOGIN.1);
    Ok(connect_with(login, BUCKET, settings)?)
}

fn flip(path: &Path) -> io::Result<()> {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::write(path, bytes)
}
