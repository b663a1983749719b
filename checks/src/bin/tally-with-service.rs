//! `tally-with-service`: runs a command beside a service that has something to show.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use checks::postgres::Postgres;
use checks::rig::{Failure, Rig};
use checks::submission::{Route, Submission};
use checks::token;
use clap::Parser;
use ingest::SystemClock;
use ledger::key::SigningKey;
use ledger::names::Workspace;
use ledger::submission::Counter;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::process::Command;

/// Starts Postgres and the service on free ports, with the workspace `acme` and an event in it, and
/// runs a command that finds them in API_URL, API_ADMIN_TOKEN and API_READER_TOKEN. Ends as the
/// command does.
#[derive(Parser)]
struct Cli {
    /// The command, and what it is told.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where stderr is gone, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "tally-with-service: {error}");
            ExitCode::from(3)
        }
    }
}

async fn run(cli: Cli) -> Result<u8, Failure> {
    let directory = tempfile::tempdir()?;
    let rig = Rig::new(directory.path(), "ledger.example.com/api", Postgres::start()?).await?;
    let running = rig.serve_on(&rig.postgres.url(), Arc::new(SystemClock)).await?;
    let url = format!("http://{}", running.local_addr());
    let reader = furnish(&rig, &url).await?;
    let (program, arguments) = cli.command.split_first().ok_or("there is no command")?;
    let status = Command::new(program)
        .args(arguments)
        .env("API_URL", &url)
        .env("API_ADMIN_TOKEN", token::ADMIN)
        .env("API_READER_TOKEN", reader)
        .status()
        .await?;
    running.shutdown().await;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(3))
}

/// Makes the workspace, records an event, and makes a token that reads them.
async fn furnish(rig: &Rig, url: &str) -> Result<String, Failure> {
    let http = Client::builder().no_proxy().build()?;
    let key = SigningKey::from_seed(&[1; 32]);
    let event = |id: &str, event_type: &str, context: Value| {
        json!({
            "event_id": id,
            "event_type": event_type,
            "occurred_at": "2026-11-24T10:00:00Z",
            "workspace_id": "acme",
            "context": context,
        })
    };
    let founding = event(
        "0195fe3a-7d2c-7bd1-9d0f-3c2b1a098764",
        "ledger.workspace_created",
        json!({"root_keys": [key.public().to_string()]}),
    );
    let founding = sign(rig, &key, &founding, Route::Workspaces)?;
    done(send(&http, url, &founding).bearer_auth(token::ADMIN)).await?;
    // That of the example in the API's description.
    let id = "0195fe3a-7d2c-7bd1-9d0f-3c2b1a098765";
    let event = event(id, "business_event", json!({"note": "for whoever looks"}));
    done(send(&http, url, &sign(rig, &key, &event, Route::Lines)?)).await?;
    let token = http
        .post(format!("{url}/v1/workspaces/acme/tokens"))
        .bearer_auth(token::ADMIN)
        .json(&json!({"name": "api"}));
    let token = done(token).await?;
    Ok(token.get("token").and_then(Value::as_str).ok_or("no token was made")?.to_owned())
}

fn sign(
    rig: &Rig,
    key: &SigningKey,
    event: &Value,
    route: Route,
) -> Result<Submission, Box<dyn Error + Send + Sync>> {
    let acme = Workspace::new("acme")?;
    let payloads = vec![serde_json::to_vec(event)?];
    let signed = Submission::sign(&rig.origin, &acme, Counter::NONE, key, payloads);
    Ok(Submission { route, ..signed })
}

fn send(http: &Client, url: &str, submission: &Submission) -> RequestBuilder {
    http.post(format!("{url}{}", submission.path()))
        .header("content-type", submission.content_type())
        .header("tally-public-key", submission.public_key.to_string())
        .header("tally-signature", submission.signature.to_string())
        .body(submission.body())
}

async fn done(request: RequestBuilder) -> Result<Value, Failure> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if status.as_u16() == 201 {
        Ok(serde_json::from_str(&text)?)
    } else {
        Err(format!("the service answered {status}: {text}").into())
    }
}
