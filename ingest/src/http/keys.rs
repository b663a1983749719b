//! The keys that check what this ledger signs, in the two forms that programs look for.
//!
//! Here: views, made from the settings. An auditor takes keys from elsewhere: whoever runs another
//! ledger under this address would show others here. Not here: the keys of agents, which stand in
//! their workspace's chain.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use ledger::note::VerifierKey;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;

/// `GET /.well-known/tally-keys`.
#[derive(Serialize, ToSchema)]
pub(super) struct TallyKeysAnswer {
    /// The ledger's name.
    origin: String,
    /// Check receipts and heads.
    receipt_keys: Vec<String>,
    /// Check manifests, hours and checkpoints; empty where the operator shows none.
    seal_keys: Vec<String>,
}

/// A key as RFC 8037 has it.
#[derive(Serialize, ToSchema)]
pub(super) struct JsonWebKey {
    kty: &'static str,
    crv: &'static str,
    /// The 32 bytes of the key, in unpadded base64url.
    x: String,
    /// The key as a verifier key of signed notes.
    kid: String,
    r#use: &'static str,
    alg: &'static str,
    key_ops: [&'static str; 1],
}

/// `GET /.well-known/jwks.json`: the same keys, for programs that know JSON Web Keys.
#[derive(Serialize, ToSchema)]
pub(super) struct JwksAnswer {
    keys: Vec<JsonWebKey>,
}

pub(super) async fn tally_keys(State(app): State<Arc<App>>) -> Response {
    Json(TallyKeysAnswer {
        origin: app.origin.to_string(),
        receipt_keys: vec![app.receipts.verifier().to_string()],
        seal_keys: app.seal_verifier_key.iter().map(ToString::to_string).collect(),
    })
    .into_response()
}

pub(super) async fn jwks(State(app): State<Arc<App>>) -> Response {
    let receipt = app.receipts.verifier();
    let keys = std::iter::once(receipt).chain(app.seal_verifier_key.as_ref());
    Json(JwksAnswer { keys: keys.map(web_key).collect() }).into_response()
}

fn web_key(key: &VerifierKey) -> JsonWebKey {
    // The text of a public key is `ed25519:` and just what `x` is.
    let text = key.public().to_string();
    let x = text.split_once(':').map_or("", |(_, x)| x);
    JsonWebKey {
        kty: "OKP",
        crv: "Ed25519",
        x: x.to_owned(),
        kid: key.to_string(),
        r#use: "sig",
        alg: "EdDSA",
        key_ops: ["verify"],
    }
}
