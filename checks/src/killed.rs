//! An archiver that is killed on its way, in a process of its own.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ledger::names::Origin;
use ledger::time::Micros;
use sqlx::PgPool;
use tokio::process::Command;

use crate::rig::Failure;

/// `tally-archiver-under-fault` on one ledger.
pub struct Archivers<'a> {
    /// The program: a test knows where its own package's are.
    pub program: &'a Path,
    /// The ledger.
    pub origin: &'a Origin,
    /// Its database.
    pub pool: &'a PgPool,
    /// Its archive.
    pub archive: &'a Path,
    /// The file with its seal key.
    pub seal_key: PathBuf,
    /// How long an hour stays open.
    pub grace: Duration,
    /// Most rows of a chunk.
    pub rows: u64,
    /// The retention policy, for work that needs one.
    pub retention: Option<PathBuf>,
}

impl Archivers<'_> {
    /// What the program is told, for some work at some time.
    pub fn arguments(&self, work: &str, now: Micros) -> Result<Vec<OsString>, Failure> {
        let options = self.pool.connect_options();
        let database = options.get_database().ok_or("a database without a name")?;
        let (host, port) = (options.get_host(), options.get_port());
        let url = format!("postgres://{}@{host}:{port}/{database}", options.get_username());
        let mut arguments: Vec<OsString> = [
            (work, None),
            ("--origin", Some(self.origin.to_string())),
            ("--database-url", Some(url)),
            ("--now", Some(now.get().to_string())),
            ("--grace", Some(self.grace.as_secs().to_string())),
            ("--rows", Some(self.rows.to_string())),
        ]
        .into_iter()
        .flat_map(|(name, value)| [Some(name.into()), value.map(OsString::from)])
        .flatten()
        .collect();
        arguments.extend(["--archive".into(), self.archive.into()]);
        if let Some(policy) = &self.retention {
            arguments.extend(["--retention".into(), policy.clone().into()]);
        }
        arguments.extend(["--seal-key".into(), self.seal_key.clone().into()]);
        Ok(arguments)
    }

    /// Seals (or does what `work` names) until the passage of a step, or of any. Whether it was killed
    /// there; otherwise it came to its end.
    pub async fn is_killed(
        &self,
        work: &str,
        now: Micros,
        step: Option<&str>,
        passage: u64,
    ) -> Result<bool, Failure> {
        let mut command = Command::new(self.program);
        command
            .args(self.arguments(work, now)?)
            .args(["--passage", &passage.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(step) = step {
            command.args(["--kill-at", step]);
        }
        let output = command.output().await?;
        match output.status.signal() {
            Some(9) => Ok(true),
            None if output.status.success() => Ok(false),
            _ => {
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(format!("{work}: {}: {told}", output.status).into())
            }
        }
    }
}
