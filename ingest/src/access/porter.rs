//! Whose token a request shows.
//!
//! Here: tokens are looked up in the database each time, so that one that is revoked ends at once;
//! those that nobody has seen yet on connections of their own, so that whoever makes tokens up takes
//! nothing from those who read. Not here: what a token must be (see [`super::token`]).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;

use super::token::TokenId;
use crate::store::StoreError;
use crate::store::access::{self, Token};

/// How long the database may take to answer, once there is a connection.
const LOOK: Duration = Duration::from_secs(3);
/// Most ids that are remembered, each in less than 100 bytes. Where there are more, all are forgotten.
const REMEMBERED: usize = 100_000;

/// Looks up tokens.
pub struct Porter {
    /// For tokens that were found before.
    readers: PgPool,
    /// For all others.
    strangers: PgPool,
    known: Mutex<HashSet<TokenId>>,
}

impl Porter {
    /// Looks on connections made by [`crate::store::readers`].
    pub fn new(readers: PgPool, strangers: PgPool) -> Self {
        Self { readers, strangers, known: Mutex::default() }
    }

    /// The token of an id, as it stands now.
    pub async fn token(&self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known().contains(id);
        let pool = if is_known { &self.readers } else { &self.strangers };
        let mut connection = pool.acquire().await?;
        let look = access::token(&mut connection, id);
        let token = tokio::time::timeout(LOOK, look).await.unwrap_or_else(|_| {
            // It may never say anything again: given back, it would be waited for.
            connection.close_on_drop();
            let silent = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(StoreError::Database(sqlx::Error::Io(silent)))
        })?;
        if token.is_some() && !is_known {
            let mut known = known();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(id.clone());
        }
        Ok(token)
    }
}
