//! A whole ledger in one directory: keys, trust file, Postgres, archive. Its time is the caller's.
//!
//! Here: what a test or the demo needs to set up and to look into. Not here: load (see
//! [`crate::driver`]) and the service as a process of its own (see [`crate::service`]).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use archiver::chunk::Limits;
use archiver::seal::{Archiver, Sealed};
use archiver::vault::FileVault;
use ingest::access::settings::ACTS_WORKSPACE;
use ingest::chain::NoProbe;
use ingest::{Clock, Config, Running, Service};
use ledger::key::SigningKey;
use ledger::names::Origin;
use ledger::note::{NoteSigner, VerifierKey};
use ledger::time::Micros;
use ledger::verify::{Policy, Report};
use sqlx::PgPool;
use verifier::store::FileSource;

use crate::figures::Figures;
use crate::oracle::Oracle;
use crate::postgres::Postgres;
use crate::token;
use crate::worker::Worker;

/// What goes wrong when a rig is set up or used.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A clock that is set by hand. Clones show the same time.
#[derive(Clone, Debug)]
pub struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// A clock that stands at `now`.
    pub fn new(now: Micros) -> Self {
        Self(Arc::new(AtomicI64::new(now.get())))
    }

    /// Moves on to `now`; never back.
    pub fn reach(&self, now: Micros) {
        self.0.fetch_max(now.get(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Micros {
        Micros::new(self.0.load(Ordering::SeqCst)).unwrap_or(Micros::EPOCH)
    }
}

/// A ledger, set up and empty.
pub struct Rig {
    /// Its name.
    pub origin: Origin,
    /// Where its files lie.
    pub directory: PathBuf,
    /// Its database.
    pub pool: PgPool,
    /// Its server.
    pub postgres: Postgres,
    seal_key: SigningKey,
    receipt_key: SigningKey,
    custodian_key: SigningKey,
}

impl Rig {
    /// Sets up a ledger in a directory that is there, on a server that has no ledger yet.
    pub async fn new(directory: &Path, origin: &str, postgres: Postgres) -> Result<Self, Failure> {
        let origin = Origin::new(origin)?;
        let directory = directory.canonicalize()?;
        std::fs::create_dir_all(directory.join("keys"))?;
        let seal_key = ingest::keyfile::create(&directory.join("keys/seal.pem"))?;
        let receipt_key = ingest::keyfile::create(&directory.join("keys/receipt.pem"))?;
        let custodian_key = ingest::keyfile::create(&directory.join("keys/custodian.pem"))?;
        ingest::store::migrate(&postgres.url(), &origin).await?;
        let pool = PgPool::connect(&postgres.url()).await?;
        let rig = Self { origin, directory, pool, postgres, seal_key, receipt_key, custodian_key };
        rig.write_trust(&[])?;
        Ok(rig)
    }

    /// The file with the key that signs receipts.
    pub fn receipt_key(&self) -> PathBuf {
        self.directory.join("keys/receipt.pem")
    }

    /// The file with the key that signs for clients that only share a secret, and the ledger's acts.
    pub fn custodian_key(&self) -> PathBuf {
        self.directory.join("keys/custodian.pem")
    }

    /// The seal key's public part.
    pub fn seal_verifier_key(&self) -> VerifierKey {
        VerifierKey::seal(&self.origin, self.seal_key.public())
    }

    /// The archive's directory.
    pub fn archive(&self) -> PathBuf {
        self.directory.join("archive")
    }

    /// The auditor's trust file.
    pub fn trust(&self) -> PathBuf {
        self.directory.join("trust.toml")
    }

    /// Writes the trust file, with the root keys of these founders' workspaces, and of the ledger's
    /// own.
    pub fn write_trust(&self, founders: &[Worker]) -> Result<(), Failure> {
        let origin = &self.origin;
        let seal = VerifierKey::seal(origin, self.seal_key.public());
        let receipt = VerifierKey::receipt(origin, self.receipt_key.public());
        let mut text = format!(
            "origin = \"{origin}\"\nseal_keys = [\"{seal}\"]\nreceipt_keys = [\"{receipt}\"]\n"
        );
        let custodian = self.custodian_key.public();
        text += &format!("\n[workspaces.\"{ACTS_WORKSPACE}\"]\nroot_keys = [\"{custodian}\"]\n");
        for founder in founders {
            let (workspace, key) = (&founder.workspace, founder.key.public());
            text += &format!("\n[workspaces.{workspace}]\nroot_keys = [\"{key}\"]\n");
        }
        Ok(std::fs::write(self.trust(), text)?)
    }

    /// Serves over HTTP on a free port, by this clock.
    pub async fn serve(&self, clock: HandClock) -> Result<Running, Failure> {
        self.serve_on(&self.postgres.url(), Arc::new(clock)).await
    }

    /// Serves on the database at `url`, which may be a way round to the rig's own.
    pub async fn serve_on(&self, url: &str, clock: Arc<dyn Clock>) -> Result<Running, Failure> {
        Ok(Service::start(self.config(url)?, clock, Arc::new(NoProbe)).await?)
    }

    /// What a service on the database at `url` is told: [`token::ADMIN`] administers it.
    pub fn config(&self, url: &str) -> Result<Config, Failure> {
        let (receipt, custodian) = (self.receipt_key.clone(), self.custodian_key.clone());
        let mut config = Config::new(self.origin.clone(), url, receipt, custodian);
        config.admin_tokens = token::admins()?;
        Ok(config)
    }

    /// Seals every hour that has closed by `now`.
    pub async fn seal(&self, now: Micros) -> Result<Sealed, Failure> {
        let vault = FileVault::open(&self.archive().to_string_lossy())?;
        let archiver = Archiver {
            pool: self.pool.clone(),
            vault: &vault,
            signer: Arc::new(NoteSigner::seal(&self.origin, self.seal_key.clone())),
            origin: self.origin.clone(),
            limits: Limits::DEFAULT,
            probe: &(),
        };
        Ok(archiver.seal(now, Duration::ZERO).await?)
    }

    /// Verifies the archive by the trust file.
    pub fn verify(&self) -> Result<Report, Failure> {
        let trust = verifier::trust::parse(&std::fs::read_to_string(self.trust())?)?;
        let source = FileSource::open(&self.archive().to_string_lossy())?;
        Ok(verifier::audit::verify(&source, trust, Policy::default(), &()))
    }

    /// Compares a client's history with the database, and with the archive's report.
    pub async fn judge(
        &self,
        history: &Path,
        archive: Option<&Report>,
    ) -> Result<Figures, Failure> {
        let oracle = Oracle::open(&self.trust(), &[history.to_owned()])?;
        Ok(oracle.compare(&self.pool, archive).await?)
    }
}
