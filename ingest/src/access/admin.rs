//! Administrators: a name and the digest of a token each, from the settings.
//!
//! Here: reading them, and finding whose a token is. Not here: what an administrator may do (see
//! [`crate::http`]).

use super::token::TokenHash;

/// Most administrators: each token is compared with all.
const MOST: usize = 64;
/// Longest name, in bytes.
const NAME_BYTES: usize = 64;

/// Why the settings name no administrator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminTokenError {
    /// The name.
    #[error("the name {0:?} is not 1 to {NAME_BYTES} of `A-Z a-z 0-9 . - _`")]
    Name(String),
    /// The digest. What stands in its place may be a token by mistake: it is not shown.
    #[error(
        "the token of {0} is written `sha256:` and 64 hex digits: see `tally-ingest admin-token`"
    )]
    Hash(String),
    /// The name is there twice.
    #[error("{0} is there twice")]
    Twice(String),
    /// One too many.
    #[error("there are {0}, at most {MOST} are taken")]
    TooMany(usize),
    /// No name and digest.
    #[error("NAME=sha256:HEX is expected")]
    Form,
}

/// The administrators' tokens.
#[derive(Clone, Debug, Default)]
pub struct AdminTokens(Vec<(String, TokenHash)>);

impl AdminTokens {
    /// Reads names with digests, as in `operator = "sha256:…"`.
    pub fn new<'t>(
        tokens: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Self, AdminTokenError> {
        let mut read: Vec<(String, TokenHash)> = Vec::new();
        for (name, hash) in tokens {
            let is_name = (1..=NAME_BYTES).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !is_name {
                return Err(AdminTokenError::Name(name.chars().take(NAME_BYTES).collect()));
            }
            if read.iter().any(|(known, _)| known == name) {
                return Err(AdminTokenError::Twice(name.to_owned()));
            }
            let hash = TokenHash::parse(hash);
            read.push((name.to_owned(), hash.ok_or(AdminTokenError::Hash(name.to_owned()))?));
        }
        if read.len() > MOST {
            return Err(AdminTokenError::TooMany(read.len()));
        }
        Ok(Self(read))
    }

    /// Whose token it is. All are compared, whichever it is.
    pub fn holder(&self, token: &str) -> Option<&str> {
        self.0.iter().fold(None, |found, (name, hash)| {
            let is_it = hash.is_of(token);
            if is_it { Some(name.as_str()) } else { found }
        })
    }

    /// Whether there is none, so that nobody administers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::super::token::Secret;
    use super::*;

    #[test]
    fn each_token_has_its_holder() {
        let (one, two) = (Secret::admin().unwrap(), Secret::admin().unwrap());
        let (a, b) = (one.hash().to_string(), two.hash().to_string());
        let tokens = AdminTokens::new([("ada", a.as_str()), ("bob", b.as_str())]).unwrap();
        assert_eq!(tokens.holder(one.reveal()), Some("ada"));
        assert_eq!(tokens.holder(two.reveal()), Some("bob"));
        assert_eq!(tokens.holder(&a), None);
        assert_eq!(tokens.holder(""), None);
        assert_eq!(AdminTokens::default().holder(one.reveal()), None);
    }

    #[test]
    fn refuses_what_names_nobody() {
        let hash = format!("sha256:{}", "0".repeat(64));
        let fail = |pairs: &[(&str, &str)]| AdminTokens::new(pairs.iter().copied()).unwrap_err();
        assert_eq!(fail(&[("", &hash)]), AdminTokenError::Name(String::new()));
        assert_eq!(fail(&[("a b", &hash)]), AdminTokenError::Name("a b".to_owned()));
        assert_eq!(fail(&[("ada", "00")]), AdminTokenError::Hash("ada".to_owned()));
        let twice = AdminTokenError::Twice("ada".to_owned());
        assert_eq!(fail(&[("ada", &hash), ("ada", &hash)]), twice);
    }
}
