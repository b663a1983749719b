//! How the archiver's last passes ended, kept in the database for whoever asks.

use ledger::time::Micros;
use sqlx::{PgConnection, PgPool, Row as _};

use crate::SealError;
use crate::records::decoded;

/// Most bytes of an error that are kept.
const ERROR_BYTES: usize = 4_000;

/// How the last passes ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// When one last ended well.
    pub ok_at: Option<Micros>,
    /// How many have failed since.
    pub failures: u64,
    /// The last of those.
    pub last: Option<Failure>,
}

/// A pass that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it began.
    pub at: Micros,
    /// The exit code of its error: see [`SealError::code`].
    pub code: u8,
    /// The error.
    pub error: String,
}

impl Passes {
    /// Reads what is known.
    pub async fn load(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query("SELECT ok_at, failures, failed_at, code, error FROM passes");
        let Some(row) = row.fetch_optional(conn).await? else {
            return Ok(Self::default());
        };
        let at = |column: &str| {
            Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.and_then(Micros::new))
        };
        let failures = decoded("failures", u64::try_from(row.try_get::<i64, _>("failures")?))?;
        let last = match at("failed_at")?.filter(|_| failures > 0) {
            None => None,
            Some(at) => Some(Failure {
                at,
                code: decoded("code", u8::try_from(row.try_get::<i16, _>("code")?))?,
                error: row.try_get("error")?,
            }),
        };
        Ok(Self { ok_at: at("ok_at")?, failures, last })
    }
}

/// Keeps how a pass ended. One that stood by, or was told to stop, says nothing; and where the
/// database cannot be told, it is the log alone that has it.
pub async fn record<T>(pool: &PgPool, now: Micros, ended: &Result<T, SealError>) {
    let kept = match ended {
        Err(SealError::Busy | SealError::Stopped(_)) => return,
        Ok(_) => {
            let ok = sqlx::query(
                "INSERT INTO passes (ok_at) VALUES ($1) ON CONFLICT (one) DO UPDATE
                 SET ok_at = $1, failures = 0, failed_at = NULL, code = NULL, error = NULL",
            );
            ok.bind(now.get()).execute(pool).await
        }
        Err(error) => {
            let mut text = error.to_string().replace('\0', "");
            text.truncate(text.floor_char_boundary(ERROR_BYTES));
            let failed = sqlx::query(
                "INSERT INTO passes (failures, failed_at, code, error) VALUES (1, $1, $2, $3)
                 ON CONFLICT (one) DO UPDATE
                 SET failures = passes.failures + 1, failed_at = $1, code = $2, error = $3",
            );
            failed.bind(now.get()).bind(i16::from(error.code())).bind(text).execute(pool).await
        }
    };
    if let Err(error) = kept {
        tracing::warn!("how this pass ended could not be kept in the database: {error}");
    }
}
