//! A submission as an agent sends it: signed once, the same bytes every time.

use ledger::hash::Digest;
use ledger::key::{PublicKey, Signature, SigningKey};
use ledger::names::{Origin, Workspace};
use ledger::submission::{Counter, Statement};

/// What is sent, and under which name the ledger will know it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Where it goes.
    pub workspace: Workspace,
    /// The agent's own count.
    pub counter: Counter,
    /// The events, in order.
    pub payloads: Vec<Vec<u8>>,
    /// Who signs.
    pub public_key: PublicKey,
    /// The signature over the statement.
    pub signature: Signature,
    /// The submission hash (FORMAT section 3).
    pub hash: Digest,
    /// The route that it is sent to.
    pub route: Route,
}

/// Where a submission is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The events of a workspace, one a line.
    Lines,
    /// The events of a workspace, as the elements of a JSON array.
    Array,
    /// The workspaces: the one event opens one.
    Workspaces,
}

impl Submission {
    /// Signs events.
    pub fn sign(
        origin: &Origin,
        workspace: &Workspace,
        counter: Counter,
        key: &SigningKey,
        payloads: Vec<Vec<u8>>,
    ) -> Self {
        let statement = Statement::new(origin, workspace, counter, &digests(&payloads));
        let signature = key.sign(statement.as_str().as_bytes());
        let public_key = key.public();
        let hash = statement.submission_hash(public_key.as_bytes(), &signature);
        let workspace = workspace.clone();
        let route = Route::Lines;
        Self { workspace, counter, payloads, public_key, signature, hash, route }
    }

    /// The digests of the payloads, in order.
    pub fn digests(&self) -> Vec<Digest> {
        digests(&self.payloads)
    }

    /// The path that it is posted to.
    pub fn path(&self) -> String {
        match self.route {
            Route::Lines | Route::Array => format!("/v1/workspaces/{}/events", self.workspace),
            Route::Workspaces => "/v1/workspaces".to_owned(),
        }
    }

    /// What its body is.
    pub fn content_type(&self) -> &'static str {
        match self.route {
            Route::Lines => "application/x-ndjson",
            Route::Array | Route::Workspaces => "application/json",
        }
    }

    /// The body.
    pub fn body(&self) -> Vec<u8> {
        match self.route {
            Route::Lines => [self.payloads.join(&b'\n').as_slice(), b"\n"].concat(),
            Route::Array => {
                [b"{\"events\": [", self.payloads.join(&b" ,\n"[..]).as_slice(), b"]}"].concat()
            }
            Route::Workspaces => self.payloads.concat(),
        }
    }
}

fn digests(payloads: &[Vec<u8>]) -> Vec<Digest> {
    payloads.iter().map(|payload| Digest::of(payload)).collect()
}
