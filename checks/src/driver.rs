//! Clients that make load: they send, wait, give up, and send the same bytes again.
//!
//! Here: HTTP as an agent's developer would write it, with nothing of the service's own client.
//! Not here: judging what came of it (see [`crate::oracle`]).

use std::io;
use std::time::{Duration, Instant};

use crate::history::{History, Record};
use crate::submission::{Route, Submission};
use crate::token::ADMIN;

/// What the service said to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded; the receipt, byte for byte.
    Receipt(String),
    /// It is refused, and will be refused again.
    Refused {
        /// The status code.
        status: u16,
        /// The problem, as it was told.
        problem: String,
    },
    /// Nobody knows: no answer, a time-out, or a service that could not say.
    Unknown(String),
}

/// A connection to the service.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

/// How long a client waits before it asks again.
const PAUSE: Duration = Duration::from_millis(20);

impl Client {
    /// A client of the service at `base`, e.g. `http://127.0.0.1:8000`, that gives up on a request
    /// after `timeout`.
    pub fn new(base: &str, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().timeout(timeout).no_proxy().build()?;
        Ok(Self { http, base: base.to_owned() })
    }

    /// Sends a submission once.
    pub async fn post(&self, submission: &Submission) -> Answer {
        let request = self
            .http
            .post(format!("{}{}", self.base, submission.path()))
            .header("Content-Type", submission.content_type())
            .header("Accept", "text/plain")
            // Of a ledger with a queue: 202 where it is not recorded by then.
            .header("Prefer", "wait=20")
            .header("Tally-Public-Key", submission.public_key.to_string())
            .header("Tally-Signature", submission.signature.to_string())
            .header("Tally-Counter", submission.counter.to_string())
            .body(submission.body());
        let request = match submission.route {
            Route::Workspaces => request.bearer_auth(ADMIN),
            Route::Lines | Route::Array => request,
        };
        let answer = async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
        };
        match answer.await {
            Ok((200 | 201, receipt)) => Answer::Receipt(receipt),
            Ok((status @ (202 | 408 | 429 | 500..), text)) => {
                Answer::Unknown(format!("{status}: {text}"))
            }
            Ok((status, problem)) => Answer::Refused { status, problem },
            Err(error) => Answer::Unknown(error.to_string()),
        }
    }

    /// Sends a submission again and again until the service has said what became of it, or
    /// `patience` is over; each step goes into the history.
    pub async fn deliver(
        &self,
        history: &History,
        submission: &Submission,
        patience: Duration,
    ) -> io::Result<Answer> {
        history.append(&Record::sent(submission)).await?;
        let hash = submission.hash.to_string();
        let start = Instant::now();
        loop {
            let answer = self.post(submission).await;
            let record = match &answer {
                Answer::Receipt(receipt) => {
                    Record::Acked { submission: hash, receipt: receipt.clone() }
                }
                Answer::Refused { status, .. } => {
                    Record::Refused { submission: hash, status: *status }
                }
                Answer::Unknown(_) if start.elapsed() < patience => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Answer::Unknown(_) => return Ok(answer),
            };
            history.append(&record).await?;
            return Ok(answer);
        }
    }
}
