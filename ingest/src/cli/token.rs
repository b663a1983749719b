//! `admin-token` and `token`: tokens of administrators and of readers.
//!
//! Here: what they print. A token is printed once, on standard output. Not here: what a token is
//! (see [`crate::access::token`]), HTTP (see [`super::client`]).

use std::path::{Path, PathBuf};

use clap::Args;
use ledger::names::Workspace;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::{ClientError, ask};
use super::keys::parse_workspace;
use super::{CliError, print};
use crate::access::token::Secret;
use crate::config::ADMIN_TOKEN_VARIABLE;

/// A token file holds no more than this, in bytes: a larger one is something else.
const TOKEN_BYTES: u64 = 1_024;

/// Arguments of `admin-token`.
#[derive(Debug, Args)]
pub(super) struct AdminTokenArgs {
    /// Whose token it is, as acts will tell it
    #[arg(default_value = "operator")]
    name: String,
}

/// Where an administrator's token is.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct AdminTokenFile {
    /// The file with the administrator's token, otherwise the variable TALLY_ADMIN_TOKEN
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

impl AdminTokenFile {
    /// Reads the token.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, CliError> {
        let text = match &self.admin_token_file {
            Some(path) => file(path)?,
            None => std::env::var(ADMIN_TOKEN_VARIABLE).map(Zeroizing::new).map_err(|_| {
                let detail = "an administrator's token is needed: --admin-token-file or \
                              TALLY_ADMIN_TOKEN, as `tally-ingest admin-token` printed it";
                ClientError::Usage(detail.to_owned())
            })?,
        };
        Ok(Zeroizing::new(text.trim().to_owned()))
    }
}

fn file(path: &Path) -> Result<Zeroizing<String>, CliError> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let usage = |detail: String| ClientError::Usage(format!("{}: {detail}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| usage(error.to_string()))?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let detail = format!("mode {mode:03o} lets others read the token; run `chmod 600`");
        return Err(usage(detail).into());
    }
    let mut text = Zeroizing::new(String::with_capacity(1_024));
    file.take(TOKEN_BYTES).read_to_string(&mut text).map_err(|error| usage(error.to_string()))?;
    Ok(text)
}

/// Which service, and who asks it.
#[derive(Debug, Args)]
pub(super) struct TokenService {
    /// The workspace
    #[arg(value_parser = parse_workspace)]
    workspace: Workspace,
    /// Where the service is, e.g. https://ledger.example.com
    #[arg(long)]
    url: Url,
    #[command(flatten)]
    admin: AdminTokenFile,
    /// How long to try before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    give_up_after: u64,
}

/// Arguments of `token create`.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    service: TokenService,
    /// Whose token it is, in words
    #[arg(long)]
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `token list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    service: TokenService,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `token revoke`.
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    service: TokenService,
    /// The token's id, as `token list` shows it
    id: String,
}

/// Makes a token for an administrator: nobody is asked, the settings bring it into force.
pub(super) fn admin(args: &AdminTokenArgs) -> Result<(), CliError> {
    let secret = Secret::admin().map_err(|error| ClientError::Usage(error.to_string()))?;
    let (name, hash) = (toml::Value::from(args.name.as_str()), secret.hash().to_string());
    // Names and digests that the settings refuse are not printed as settings.
    crate::access::AdminTokens::new([(args.name.as_str(), hash.as_str())])
        .map_err(|error| ClientError::Usage(error.to_string()))?;
    print(secret.reveal())?;
    print("# Keep the line above: it is shown once. In tally.toml of the service:")?;
    print(format_args!("[ingest.admin_tokens]\n{name} = \"{hash}\""))?;
    Ok(())
}

impl TokenService {
    async fn ask(
        self,
        method: Method,
        item: Option<&str>,
        body: Option<Value>,
    ) -> Result<Value, CliError> {
        let token = self.admin.read()?;
        let path = match item {
            None => format!("v1/workspaces/{}/tokens", self.workspace),
            Some(id) => format!("v1/workspaces/{}/tokens/{id}", self.workspace),
        };
        let asked = (method, &self.url, path.as_str());
        Ok(ask(asked, &token, body, self.give_up_after).await?)
    }
}

pub(super) async fn create(args: CreateArgs) -> Result<(), CliError> {
    let answer = args.service.ask(Method::POST, None, Some(json!({ "name": args.name }))).await?;
    if args.json {
        return Ok(print(answer)?);
    }
    let text = |member: &str| answer.get(member).and_then(Value::as_str).unwrap_or_default();
    print(text("token"))?;
    print(format_args!("# Keep the line above: it is shown once. Its id is {}", text("id")))?;
    Ok(())
}

pub(super) async fn list(args: ListArgs) -> Result<(), CliError> {
    let answer = args.service.ask(Method::GET, None, None).await?;
    if args.json {
        return Ok(print(answer)?);
    }
    for token in answer.get("tokens").and_then(Value::as_array).into_iter().flatten() {
        let text = |member: &str| token.get(member).and_then(Value::as_str);
        let state = text("revoked_at").map_or("in force".to_owned(), |at| format!("revoked {at}"));
        let (id, at) = (text("id").unwrap_or("?"), text("created_at").unwrap_or("?"));
        let (by, name) = (text("created_by").unwrap_or("?"), text("name").unwrap_or("?"));
        print(format_args!("{id}  {state}  created {at} by {by}  {name}"))?;
    }
    Ok(())
}

pub(super) async fn revoke(args: RevokeArgs) -> Result<(), CliError> {
    let is_id = crate::access::token::TokenId::parse(&args.id).is_some();
    if !is_id {
        let detail = "a token's id has 16 hex digits: see `tally-ingest token list`";
        return Err(ClientError::Usage(detail.to_owned()).into());
    }
    args.service.ask(Method::DELETE, Some(&args.id), None).await?;
    Ok(print(format_args!("token {} is revoked", args.id))?)
}
