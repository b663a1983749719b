//! A private Postgres.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::PgPool;
use tempfile::TempDir;

pub struct Cluster {
    directory: TempDir,
    databases: u32,
}

fn program(name: &str) -> Command {
    let debian = Path::new("/usr/lib/postgresql/15/bin").join(name);
    let program = if debian.exists() { debian } else { PathBuf::from(name) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Cluster {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
        let data = directory.path().join("data");
        let initdb = program("initdb")
            .args(["-U", "postgres", "--auth=trust", "--no-sync", "-D"])
            .arg(&data)
            .status();
        assert!(initdb.unwrap().success());
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c fsync=off",
            directory.path().display()
        );
        let started =
            program("pg_ctl").args(["-w", "-o", &options, "-D"]).arg(&data).arg("start").status();
        assert!(started.unwrap().success());
        Self { directory, databases: 0 }
    }

    async fn pool(&self, database: &str) -> PgPool {
        let host = self.directory.path().display();
        PgPool::connect(&format!("postgres://postgres@localhost/{database}?host={host}"))
            .await
            .unwrap()
    }

    /// A new database: an empty ledger, or a copy of one that nobody is connected to.
    pub async fn database(&mut self, template: Option<&str>) -> (String, PgPool) {
        self.databases += 1;
        let name = format!("ledger{}", self.databases);
        let admin = self.pool("postgres").await;
        let template = template.unwrap_or("template0");
        let create = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&admin).await.unwrap();
        admin.close().await;
        let pool = self.pool(&name).await;
        (name, pool)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let data = self.directory.path().join("data");
        let _ = program("pg_ctl").args(["-m", "immediate", "-D"]).arg(&data).arg("stop").status();
    }
}
