//! `keygen`, `key show`, and the events that set a workspace and its keys.

use std::path::{Path, PathBuf};

use clap::Args;
use ledger::chain::{KEY_REGISTERED, KEY_REVOKED, Role, WORKSPACE_CREATED};
use ledger::key::PublicKey;
use ledger::names::{Origin, Workspace};
use ledger::note::VerifierKey;
use ledger::submission::Counter;
use ledger::time::Micros;
use serde_json::{Value, json};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::client::{Client, ClientError, ServiceArgs, Signed};
use super::token::AdminTokenFile;
use super::{CliError, print};
use crate::clock::{Clock as _, SystemClock};
use crate::keyfile;

/// How the routes that set workspaces and keys take their one event.
const JSON: &str = "application/json";

pub(super) fn parse_workspace(text: &str) -> Result<Workspace, String> {
    Workspace::new(text).map_err(|error| error.to_string())
}

fn parse_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).map_err(|error| error.to_string())
}

fn parse_origin(text: &str) -> Result<Origin, String> {
    Origin::new(text).map_err(|error| error.to_string())
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "root, agent or custodian is expected".to_owned())
}

fn parse_time(text: &str) -> Result<Micros, String> {
    ledger::payload::occurred_at(text).map_err(|error| error.to_string())
}

/// Arguments of `key show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The key file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print the verifier keys too that the key has as seal or receipt key of this ledger, as they
    /// stand in a trust file
    #[arg(long, value_parser = parse_origin)]
    origin: Option<Origin>,
}

/// Arguments of `workspace create`.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Its name
    #[arg(value_parser = parse_workspace)]
    workspace: Workspace,
    /// Further root keys, beside the one that signs (ed25519:...)
    #[arg(long = "root-key", value_name = "KEY", value_parser = parse_key)]
    root_keys: Vec<PublicKey>,
    #[command(flatten)]
    admin: AdminTokenFile,
    #[command(flatten)]
    service: ServiceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `key register`.
#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    /// The workspace
    #[arg(value_parser = parse_workspace)]
    workspace: Workspace,
    /// The key to bring into force (ed25519:...)
    #[arg(value_parser = parse_key)]
    public_key: PublicKey,
    /// root, agent or custodian
    #[arg(long, value_parser = parse_role)]
    role: Role,
    /// The one actor that the key may speak for
    #[arg(long)]
    actor_id: Option<String>,
    #[command(flatten)]
    service: ServiceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `key revoke`.
#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The workspace
    #[arg(value_parser = parse_workspace)]
    workspace: Workspace,
    /// The key to take out of force (ed25519:...)
    #[arg(value_parser = parse_key)]
    public_key: PublicKey,
    /// Why, in words
    #[arg(long)]
    reason: String,
    /// From when on others may have held the key (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    compromised_since: Option<Micros>,
    #[command(flatten)]
    service: ServiceArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn generate(out: &Path) -> Result<(), CliError> {
    Ok(print(keyfile::create(out)?.public())?)
}

pub(super) fn show(args: &ShowArgs) -> Result<(), CliError> {
    let key = keyfile::read(&args.key)?.public();
    print(key)?;
    if let Some(origin) = &args.origin {
        print(format_args!("seal {}", VerifierKey::seal(origin, key)))?;
        print(format_args!("receipt {}", VerifierKey::receipt(origin, key)))?;
    }
    Ok(())
}

pub(super) async fn create(args: CreateArgs) -> Result<(), CliError> {
    let signer = keyfile::read(&args.service.key)?.public();
    let mut keys = vec![signer.to_string()];
    let others = args.root_keys.iter().filter(|key| **key != signer);
    keys.extend(others.map(ToString::to_string));
    let context = json!({ "root_keys": keys });
    let path = "v1/workspaces".to_owned();
    let event = Event { path, content_type: JSON, event_type: WORKSPACE_CREATED, context };
    let token = args.admin.read()?;
    event.send(&args.workspace, args.service, Some(token), args.json).await
}

pub(super) async fn register(args: RegisterArgs) -> Result<(), CliError> {
    let mut context = json!({
        "key": args.public_key.to_string(),
        "role": args.role.as_str(),
    });
    if let (Some(actor_id), Value::Object(members)) = (args.actor_id, &mut context) {
        members.insert("actor_id".to_owned(), actor_id.into());
    }
    let event = Event::of_key(&args.workspace, KEY_REGISTERED, context);
    event.send(&args.workspace, args.service, None, args.json).await
}

pub(super) async fn revoke(args: RevokeArgs) -> Result<(), CliError> {
    let mut context = json!({
        "key": args.public_key.to_string(),
        "reason": args.reason,
    });
    if let (Some(since), Value::Object(members)) = (args.compromised_since, &mut context) {
        members.insert("compromised_since".to_owned(), since.to_string().into());
    }
    let event = Event::of_key(&args.workspace, KEY_REVOKED, context);
    event.send(&args.workspace, args.service, None, args.json).await
}

/// An event that the ledger itself acts on, alone in its submission.
pub(super) struct Event {
    /// Where it is sent.
    pub(super) path: String,
    /// As what.
    pub(super) content_type: &'static str,
    /// Its type.
    pub(super) event_type: &'static str,
    /// What it says.
    pub(super) context: Value,
}

impl Event {
    fn of_key(workspace: &Workspace, event_type: &'static str, context: Value) -> Self {
        let path = format!("v1/workspaces/{workspace}/keys");
        Self { path, content_type: JSON, event_type, context }
    }

    /// Signs and sends it, and tells of its receipt.
    pub(super) async fn send(
        self,
        workspace: &Workspace,
        service: ServiceArgs,
        admin_token: Option<Zeroizing<String>>,
        json: bool,
    ) -> Result<(), CliError> {
        let key = keyfile::read(&service.key)?;
        let client = Client::connect(service).await?;
        let client = match admin_token {
            Some(token) => client.by_admin(token),
            None => client,
        };
        let payload = json!({
            "event_id": Uuid::now_v7().to_string(),
            "event_type": self.event_type,
            "occurred_at": SystemClock.now().to_string(),
            "workspace_id": workspace.as_str(),
            "context": self.context,
        })
        .to_string()
        .into_bytes();
        let (bytes, most) = (payload.len(), client.limits.max_payload_bytes());
        if bytes > most {
            let text = format!(
                "the event comes to {bytes} bytes, and this ledger takes {most}: name less at once"
            );
            return Err(ClientError::Usage(text).into());
        }
        let payloads = std::iter::once(payload.as_slice());
        let origin = &client.origin;
        let body = payload.clone();
        let signed = Signed::new(origin, workspace, Counter::NONE, &key, payloads, body);
        let received = client.send(&self.path, self.content_type, &signed).await?;
        client.tell(&received, json)
    }
}
