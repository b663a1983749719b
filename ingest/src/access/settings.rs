//! The settings of this part: the custodian key, the ledger's own workspace, administrators.
//!
//! Here: how they are written and checked. Not here: where else settings come from (see
//! [`crate::config`]).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use ledger::names::{NameError, Workspace};

use super::admin::{AdminTokenError, AdminTokens};

/// The workspace of the ledger's own acts unless told otherwise.
pub const ACTS_WORKSPACE: &str = "ledger.acts";

/// The same as a name.
#[expect(clippy::expect_used, reason = "a constant, which a test reads")]
pub fn acts_workspace() -> Workspace {
    Workspace::new(ACTS_WORKSPACE).expect("a name that every workspace may have")
}

/// Why these settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// An administrator.
    #[error("`ingest.admin_tokens`: {0}")]
    Admin(#[from] AdminTokenError),
    /// The ledger's own workspace.
    #[error("`ingest.acts_workspace`: {0}")]
    Workspace(#[from] NameError),
}

/// As they are written.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessSettings {
    /// PKCS#8 PEM file with the custodian key, which signs for clients that only share a secret, and
    /// the record of acts [ingest.custodian_key]
    #[arg(long, env = "TALLY_INGEST_CUSTODIAN_KEY", value_name = "FILE")]
    pub custodian_key: Option<PathBuf>,
    /// The ledger's own workspace, `ledger.acts` by default: each read and administrative act is an
    /// event there [ingest.acts_workspace]
    #[arg(long, env = "TALLY_INGEST_ACTS_WORKSPACE", value_name = "NAME")]
    pub acts_workspace: Option<String>,
    /// An administrator, as `tally-ingest admin-token` prints it; may be there several times, in the
    /// variable separated by commas [ingest.admin_tokens]
    #[arg(
        long = "admin-token-hash",
        env = "TALLY_INGEST_ADMIN_TOKENS",
        value_name = "NAME=sha256:HEX",
        value_delimiter = ','
    )]
    pub admin_tokens: Vec<String>,
}

impl AccessSettings {
    /// Fills in what the file says where nothing overrides it.
    pub fn with_file(
        &mut self,
        custodian_key: Option<PathBuf>,
        acts_workspace: Option<String>,
        admin_tokens: &BTreeMap<String, String>,
    ) {
        self.custodian_key = self.custodian_key.take().or(custodian_key);
        self.acts_workspace = self.acts_workspace.take().or(acts_workspace);
        if self.admin_tokens.is_empty() {
            let pairs = admin_tokens.iter().map(|(name, hash)| format!("{name}={hash}"));
            self.admin_tokens = pairs.collect();
        }
    }

    /// The administrators.
    pub fn admins(&self) -> Result<AdminTokens, AccessError> {
        let pairs = self.admin_tokens.iter().map(|text| text.split_once('='));
        let pairs: Option<Vec<(&str, &str)>> = pairs.collect();
        Ok(AdminTokens::new(pairs.ok_or(AdminTokenError::Form)?)?)
    }

    /// The ledger's own workspace.
    pub fn acts_workspace(&self) -> Result<Workspace, AccessError> {
        match &self.acts_workspace {
            Some(name) => Ok(Workspace::new(name)?),
            None => Ok(acts_workspace()),
        }
    }
}

/// As `tally.toml` would say it, within and after its section `[ingest]`: digests are no secrets.
impl fmt::Display for AccessSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.custodian_key {
            Some(path) => {
                writeln!(f, "custodian_key = {}", toml::Value::from(&*path.to_string_lossy()))?;
            }
            None => writeln!(f, "# custodian_key is not set")?,
        }
        let workspace = self.acts_workspace.as_deref().unwrap_or(ACTS_WORKSPACE);
        writeln!(f, "acts_workspace = {}", toml::Value::from(workspace))?;
        let pairs = self.admin_tokens.iter().filter_map(|text| text.split_once('='));
        let pairs: Vec<String> = pairs
            .map(|(name, hash)| format!("{} = {}", quoted(name), quoted(&known_form(hash))))
            .collect();
        writeln!(f, "admin_tokens = {{ {} }}", pairs.join(", "))
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A digest as it is; anything else may be a token that stands there by mistake.
fn known_form(hash: &str) -> String {
    super::token::TokenHash::parse(hash).map_or_else(|| "****".to_owned(), |hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_token_that_stands_where_its_digest_should_is_never_shown() {
        let token = "tally_admin_0123456789abcdef";
        let settings =
            AccessSettings { admin_tokens: vec![format!("ada={token}")], ..Default::default() };
        assert!(!settings.to_string().contains(token), "{settings}");
        assert!(!settings.admins().unwrap_err().to_string().contains(token));
    }

    #[test]
    fn the_workspace_of_acts_has_a_name_of_its_own() {
        assert_eq!(acts_workspace().as_str(), ACTS_WORKSPACE);
        let named = AccessSettings {
            acts_workspace: Some("acts.example".to_owned()),
            ..Default::default()
        };
        assert_eq!(named.acts_workspace().unwrap().as_str(), "acts.example");
    }
}
