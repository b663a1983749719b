//! Sealing, on a real database and a real directory.
//!
//! The rows come from made-up ledgers ([`checks::forge`]), which also say, by code of their own,
//! what archive they must come to, byte for byte.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod agree;
mod boundary;
mod bucket;
mod commands;
mod daemon;
mod faults;
mod keys;
mod killed;
mod ledgers;
mod recovery;
mod restore;
mod scripts;
mod syscalls;
mod whole;

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use archiver::SealError;
use archiver::chunk::Limits;
use archiver::seal::{Archiver, Sealed};
use archiver::step::Probe;
use archiver::vault::{FileVault, Vault};
use checks::forge::Archive;
use checks::killed::Archivers;
use checks::postgres::Postgres;
use ledger::note::NoteSigner;
use ledger::time::{Hour, Micros};
use ledger::verify::{Finding, Policy, Report, Severity, Trust};
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use verifier::store::FileSource;

use ledgers::Ledger;

const GRACE: Duration = Duration::from_secs(60);

/// Rows of a chunk, so that some hours have several.
const ROWS: usize = 40;

/// The first moment at which an hour may be sealed.
fn closed(hour: Hour) -> Micros {
    Micros::new(hour.end()).unwrap().checked_add(60_000_000).unwrap()
}

/// Seals what has closed at `now`, into a vault, watched by a probe.
async fn seal_with(
    pool: &PgPool,
    vault: &dyn Vault,
    signer: &NoteSigner,
    now: Micros,
    probe: &dyn Probe,
) -> Result<Sealed, SealError> {
    let origin = ledger::names::Origin::new(signer.verifier().name()).unwrap();
    let (pool, signer) = (pool.clone(), std::sync::Arc::new(signer.clone()));
    let limits = Limits { rows: ROWS as u64, payload_bytes: 1 << 20 };
    Archiver { pool, vault, signer, origin, limits, probe }.seal(now, GRACE).await
}

/// A ledger in a database of its own, and a directory for its archive.
struct World {
    ledger: Ledger,
    pool: PgPool,
    directory: TempDir,
}

impl World {
    async fn new(postgres: &Postgres, ledger: Ledger) -> Self {
        let pool = PgPool::connect(&postgres.database().unwrap()).await.unwrap();
        ledger.record(&pool).await;
        Self { ledger, pool, directory: tempfile::tempdir().unwrap() }
    }

    /// One to be copied.
    async fn template(postgres: &Postgres, ledger: Ledger) -> Self {
        let world = Self::new(postgres, ledger).await;
        world.pool.close().await;
        world
    }

    /// A copy of a template, with an archive directory of its own.
    async fn copy(&self, postgres: &Postgres) -> Self {
        let (url, template) = (postgres.database().unwrap(), self.pool.connect_options());
        let name = url.rsplit('/').next().unwrap();
        let admin = PgPool::connect(&postgres.url()).await.unwrap();
        let template = template.get_database().unwrap();
        let copy = format!("DROP DATABASE {name}; CREATE DATABASE {name} TEMPLATE {template}");
        for statement in copy.split(';') {
            let statement = AssertSqlSafe(statement.to_owned());
            sqlx::raw_sql(statement).execute(&admin).await.unwrap();
        }
        admin.close().await;
        let pool = PgPool::connect(&url).await.unwrap();
        Self { ledger: self.ledger.clone(), pool, directory: tempfile::tempdir().unwrap() }
    }

    fn vault(&self) -> FileVault {
        FileVault::open(&self.path().to_string_lossy()).unwrap()
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Archivers in processes of their own, whose seal key lies in a directory.
    fn archivers(&self, keys: &Path) -> Archivers<'_> {
        let seal_key = keys.join("seal.pem");
        std::fs::write(&seal_key, &self.ledger.seal_pem).unwrap();
        std::fs::set_permissions(&seal_key, Permissions::from_mode(0o600)).unwrap();
        Archivers {
            program: Path::new(env!("CARGO_BIN_EXE_tally-archiver-under-fault")),
            origin: &self.ledger.content.origin,
            pool: &self.pool,
            archive: self.path(),
            seal_key,
            grace: GRACE,
            rows: ROWS as u64,
            retention: None,
        }
    }

    async fn seal(&self) -> Result<Sealed, SealError> {
        self.seal_at(closed(self.ledger.last_hour())).await
    }

    async fn seal_at(&self, now: Micros) -> Result<Sealed, SealError> {
        seal_with(&self.pool, &self.vault(), &self.ledger.signer, now, &()).await
    }

    fn archive(&self) -> Archive {
        Archive::load(self.path()).unwrap()
    }

    fn verify(&self) -> Report {
        verify(self.path(), self.ledger.trust.clone())
    }

    /// Checks that an auditor who knows no workspace yet finds nothing wrong in what is sealed so
    /// far.
    fn check_so_far(&self, when: &str) {
        let trust = Trust { workspaces: BTreeMap::new(), ..self.ledger.trust.clone() };
        let findings = verify(self.path(), trust).findings;
        let grave = |finding: &Finding| finding.check.severity() == Severity::Tampering;
        assert!(!findings.iter().any(grave), "{when}: {findings:?}");
    }

    /// Everything that the database remembers of the archive.
    async fn marks(&self) -> String {
        sqlx::query_scalar(
            "SELECT concat_ws(E'\\n',
                (SELECT string_agg(c::text, E'\\n' ORDER BY log_index) FROM sealed_chunks c),
                (SELECT string_agg(h::text, E'\\n' ORDER BY log_index) FROM sealed_hours h),
                (SELECT string_agg(p::text, E'\\n') FROM published p))",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }
}

fn verify(archive: &Path, trust: Trust) -> Report {
    let source = FileSource::open(&archive.to_string_lossy()).unwrap();
    verifier::audit::verify(&source, trust, Policy::default(), &())
}
