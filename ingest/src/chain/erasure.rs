//! What a submission may ask to have erased (FORMAT section 10).
//!
//! The format lets an erasure name any event, recorded or not. The door is stricter: an erasure that
//! names what is not there, or can never be erased, is a mistake that its sender should hear of. It
//! is decided under the lock of the workspace's head, where nothing is recorded meanwhile. Not here:
//! what the store is asked (see [`crate::store::erasure`]).

use std::collections::HashSet;

use ledger::chain::{Acts, LedgerEvent};
use ledger::names::EventId;

use super::plan::Chain;

/// Most events that one refusal names: who sent them mends the first ones first.
const FAULTS: usize = 20;

/// Events that erasures may name, as far as a group asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erasable {
    /// Those that are recorded.
    pub recorded: HashSet<EventId>,
    /// Those of them that are the ledger's own, which are never erased.
    pub ledgers: HashSet<EventId>,
}

/// Why an event cannot be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No event of this id is recorded in the workspace.
    #[error("is not recorded in this workspace")]
    NotRecorded,
    /// It is an event that the ledger itself acts on.
    #[error("is a ledger. event, which is never erased")]
    LedgerEvent,
}

impl Fault {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotRecorded => "not-recorded",
            Self::LedgerEvent => "ledger-event",
        }
    }
}

/// An event that cannot be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotErasable {
    /// Its place in `event_ids`, from 0.
    pub index: usize,
    /// The event.
    pub event_id: EventId,
    /// Why.
    pub fault: Fault,
}

/// The events that a submission asks to have erased; none for most submissions.
pub fn named(acts: &Acts) -> &[EventId] {
    match acts.ledger_event() {
        Some(LedgerEvent::PayloadErased { event_ids, .. }) => event_ids,
        _ => &[],
    }
}

/// Which of the events that a submission names cannot be erased; the first ones, in order.
pub(super) fn refused(chain: &Chain, acts: &Acts) -> Vec<NotErasable> {
    let fault = |event_id| {
        if chain.erasable.ledgers.contains(event_id) {
            Some(Fault::LedgerEvent)
        } else if chain.erasable.recorded.contains(event_id) || chain.events.contains_key(event_id)
        {
            None
        } else {
            Some(Fault::NotRecorded)
        }
    };
    let each = named(acts).iter().enumerate();
    let faults = each.filter_map(|(index, event_id)| {
        fault(event_id).map(|fault| NotErasable { index, event_id: *event_id, fault })
    });
    faults.take(FAULTS).collect()
}
