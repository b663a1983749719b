//! What each refusal becomes: a kind, what is told, and where.

use super::{Fault, Kind, Problem};
use crate::accept::head::{self, HeadError};
use crate::accept::{self, EventError};
use crate::chain::erasure::NotErasable;
use crate::chain::{Refused, WriteError};
use crate::queue::PutError;
use crate::store::StoreError;

/// Longest text that tells of a refused event, in bytes: it may quote what was sent.
const DETAIL_BYTES: usize = 512;

impl From<HeadError> for Problem {
    fn from(error: HeadError) -> Self {
        Self::new(Kind::BadHeader, error.to_string()).with(Fault {
            index: None,
            pointer: None,
            header: Some(error.name),
            reason: error.fault.code(),
            detail: error.fault.to_string(),
        })
    }
}

impl From<EventError> for Fault {
    fn from(error: EventError) -> Self {
        let mut detail = error.detail;
        if detail.len() > DETAIL_BYTES {
            let end = detail.floor_char_boundary(DETAIL_BYTES);
            detail.truncate(end);
            detail.push('…');
        }
        Self {
            index: Some(error.index),
            pointer: Some(error.pointer),
            header: None,
            reason: error.reason,
            detail,
        }
    }
}

impl From<NotErasable> for Fault {
    fn from(NotErasable { index, event_id, fault }: NotErasable) -> Self {
        Self {
            index: Some(0),
            pointer: Some(format!("/context/event_ids/{index}")),
            header: None,
            reason: fault.code(),
            detail: format!("event {event_id} {fault}"),
        }
    }
}

/// A text that may quote what was sent, without its middle where it is long: the end says where.
fn shortened(text: String) -> String {
    if text.len() <= DETAIL_BYTES {
        return text;
    }
    let start = text.floor_char_boundary(DETAIL_BYTES / 2);
    let end = text.ceil_char_boundary(text.len() - DETAIL_BYTES / 4);
    let (start, end) = (text.get(..start), text.get(end..));
    format!("{}…{}", start.unwrap_or_default(), end.unwrap_or_default())
}

impl From<accept::Refused> for Problem {
    fn from(refused: accept::Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            accept::Refused::Body { reason, detail } => {
                let detail = shortened(detail);
                Self::new(Kind::BodyRefused, detail.clone()).with(Fault {
                    index: None,
                    pointer: None,
                    header: None,
                    reason,
                    detail,
                })
            }
            accept::Refused::TooManyEvents { .. } => Self::new(Kind::TooManyEvents, detail),
            accept::Refused::Events(errors) => Self {
                errors: errors.into_iter().map(Fault::from).collect(),
                ..Self::new(Kind::EventRefused, detail)
            },
            accept::Refused::WrongRoute(_) => Self::new(Kind::WrongRoute, detail),
            accept::Refused::Signature(error, ..) => {
                Self::new(Kind::SignatureInvalid, detail.clone()).with(Fault {
                    index: None,
                    pointer: None,
                    header: Some(head::SIGNATURE),
                    reason: error.code(),
                    detail: error.to_string(),
                })
            }
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Refused::Key(refusal) => Self::new(Kind::of_refusal(&refusal), detail),
            Refused::CounterReused { seq, .. } => {
                Self::new(Kind::CounterReused, detail).at_seq(seq)
            }
            Refused::EventExists { index, seq, .. } => {
                let fault = Fault {
                    index: Some(index),
                    pointer: Some("/event_id".to_owned()),
                    header: None,
                    reason: Kind::EventExists.slug(),
                    detail: detail.clone(),
                };
                Self::new(Kind::EventExists, detail).at_seq(seq).with(fault)
            }
            Refused::Clock(_) => Self::new(Kind::ClockBehind, detail),
            Refused::TooManyKeys { .. } => Self::new(Kind::TooManyKeys, detail),
            Refused::NotErasable(faults) => Self {
                errors: faults.into_iter().map(Fault::from).collect(),
                ..Self::new(Kind::NotErasable, detail)
            },
            Refused::ChainFull => Self::new(Kind::ChainFull, detail),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Refused(refused) => refused.into(),
            WriteError::Full | WriteError::Closed => {
                Self::new(Kind::Overloaded, format!("{detail}: send the same again later"))
            }
            WriteError::Behind => Self::new(Kind::BehindReceipts, detail),
            WriteError::ClockApart => Self::new(Kind::ClockApart, detail),
            WriteError::Unknown => Self::new(
                Kind::Unavailable,
                format!("{detail}: send the same bytes again, they are recorded once"),
            ),
        }
    }
}

impl From<PutError> for Problem {
    /// The error's own text may tell of hosts: it stays in the log.
    fn from(error: PutError) -> Self {
        match error {
            PutError::Full => {
                Self::new(Kind::Overloaded, format!("{error}: send the same again later"))
            }
            PutError::TooLarge => {
                tracing::error!(
                    "the queue takes less than the largest submission: raise its topic's max.message.bytes"
                );
                let detail = format!("{error}: send fewer or smaller events at once");
                Self::new(Kind::TooLarge, detail)
            }
            PutError::Unknown(_) => {
                tracing::warn!(%error, "not queued");
                Self::new(
                    Kind::QueueUnavailable,
                    "the queue did not say that it has stored the submission: send the same bytes \
                     again, they are recorded once",
                )
            }
        }
    }
}

impl From<StoreError> for Problem {
    /// The error's own text may tell of hosts and roles: it stays in the log.
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the database could not be read");
        if matches!(error, StoreError::Behind { .. }) {
            return WriteError::Behind.into();
        }
        Self::new(Kind::Unavailable, "the ledger's database could not be read")
    }
}
