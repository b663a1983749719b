//! What a group becomes: one chain without a gap, whatever is refused beside it.

use std::collections::BTreeMap;

use super::support::{
    created, event, event_id, key, origin, plain, registered, revoked, submitted,
};
use ingest::accept::Submission;
use ingest::chain::plan::{Chain, Head, Known, Plan, Verdict, plan};
use ingest::chain::{Recorded, Refused};
use ledger::chain::{Keys, Refusal};
use ledger::entry::{Entry, genesis_link, next_link};
use ledger::names::{Seq, Workspace};
use ledger::time::{Micros, SECOND};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

const START: i64 = 1_795_449_600_000_000;

fn at(micros: i64) -> Micros {
    Micros::new(START + micros).unwrap()
}

/// A store in memory: what Postgres would hold.
#[derive(Default)]
struct Store {
    chains: BTreeMap<Workspace, Chain>,
    /// Entries of each workspace, in order.
    entries: BTreeMap<Workspace, Vec<Entry>>,
    not_before: i64,
}

impl Store {
    /// Records a group, and checks everything that must hold of any plan.
    fn record(&mut self, group: &[Submission], now: Micros) -> Vec<Result<Verdict, Refused>> {
        for submission in group {
            self.chains.entry(submission.workspace.clone()).or_default();
        }
        let known =
            Known { not_before: at(self.not_before), max_keys: 10, chains: self.chains.clone() };
        let Plan { verdicts, records, advances } = plan(&origin(), known, group, now);
        assert_eq!(verdicts.len(), group.len());
        let new = verdicts.iter().filter(|v| matches!(v, Ok(v) if v.is_new)).count();
        assert_eq!(records.len(), new);
        for record in records {
            self.write(&group[record.index], record.recorded, &record.links);
        }
        for advance in advances {
            let chain = self.chains.get_mut(&advance.workspace).unwrap();
            assert_eq!(chain.head, Some(advance.head));
            let keys = chain.keys.iter().map(|(k, r)| (*k, r.clone()));
            let mut keys: BTreeMap<_, _> = keys.collect();
            keys.extend(advance.keys);
            chain.keys = Keys::from_records(keys);
        }
        verdicts
    }

    fn write(
        &mut self,
        submission: &Submission,
        recorded: Recorded,
        links: &[ledger::hash::Digest],
    ) {
        let chain = self.chains.get_mut(&submission.workspace).unwrap();
        let entries = self.entries.entry(submission.workspace.clone()).or_default();
        let (mut seq, mut link) = match chain.head {
            Some(head) => {
                assert!(recorded.recorded_at >= head.recorded_at, "recorded_at never falls");
                (head.last_seq.get(), head.link)
            }
            None => (0, genesis_link(&origin(), &submission.workspace)),
        };
        assert_eq!(recorded.first_seq.get(), seq + 1, "no gap, no reorder");
        assert_eq!(links.len(), submission.events.len());
        for (index, (event, found)) in submission.events.iter().zip(links).enumerate() {
            seq += 1;
            let entry = Entry {
                seq: Seq::new(seq).unwrap(),
                recorded_at: recorded.recorded_at,
                event_id: event.event_id,
                payload_digest: event.payload_digest,
                submission_hash: submission.hash,
                index_in_submission: u16::try_from(index).unwrap(),
                submission_count: u16::try_from(submission.events.len()).unwrap(),
            };
            link = next_link(&link, &entry.leaf());
            assert_eq!(*found, link);
            let before = chain.events.insert(event.event_id, entry.seq);
            assert_eq!(before, None, "an event is recorded once");
            entries.push(entry);
        }
        assert_eq!((recorded.last_seq.get(), recorded.link), (seq, link));
        let counter = submission.head.counter;
        if counter.get() > 0 {
            let used = (submission.head.public_key, counter);
            let before = chain.counters.insert(used, recorded.first_seq);
            assert_eq!(before, None, "a counter is used once");
        }
        chain.recorded.insert(submission.hash, recorded);
        chain.head =
            Some(Head { last_seq: recorded.last_seq, link, recorded_at: recorded.recorded_at });
    }
}

/// A store with a workspace of root key 1 and agent key 2, both ready to sign.
fn store() -> Store {
    let mut store = Store::default();
    let group = [
        submitted("acme", 0, &key(1), &[created("acme", 1_000, &[&key(1)])]).unwrap(),
        submitted("acme", 0, &key(1), &[registered("acme", 1_001, &key(2), "agent")]).unwrap(),
    ];
    let verdicts = store.record(&group, at(0));
    assert!(verdicts.iter().all(Result::is_ok));
    store
}

fn agent(counter: u64, events: impl IntoIterator<Item = u64>) -> Submission {
    let payloads: Vec<_> = events.into_iter().map(|n| plain("acme", n)).collect();
    submitted("acme", counter, &key(2), &payloads).unwrap()
}

fn one(store: &mut Store, submission: Submission) -> Result<Verdict, Refused> {
    store.record(&[submission], at(10)).remove(0)
}

fn refusal(found: Result<Verdict, Refused>) -> &'static str {
    match found {
        Err(Refused::Key(refusal)) => refusal.code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_submission_again_lies_where_it_lay() {
    let mut store = store();
    let first = one(&mut store, agent(1, [1, 2])).unwrap();
    let again = one(&mut store, agent(1, [1, 2])).unwrap();
    assert!(first.is_new && !again.is_new);
    assert_eq!(first.recorded, again.recorded);
    // Also within one group, beside others.
    let group = [agent(2, [3]), agent(2, [3]), agent(3, [4])];
    let verdicts = store.record(&group, at(10));
    assert_eq!(verdicts[0].as_ref().unwrap().recorded, verdicts[1].as_ref().unwrap().recorded);
    assert!(!verdicts[1].as_ref().unwrap().is_new);
    assert_eq!(verdicts[2].as_ref().unwrap().recorded.first_seq.get(), 6);
}

#[test]
fn a_recorded_submission_keeps_its_receipt_when_its_key_is_revoked() {
    let mut store = store();
    let first = one(&mut store, agent(1, [1])).unwrap();
    let revoke = submitted("acme", 0, &key(1), &[revoked("acme", 2, &key(2))]).unwrap();
    assert!(one(&mut store, revoke).is_ok());
    assert_eq!(one(&mut store, agent(1, [1])).unwrap().recorded, first.recorded);
    assert_eq!(refusal(one(&mut store, agent(2, [3]))), "revoked-key");
}

#[test]
fn a_counter_and_an_event_id_are_used_once_and_the_seq_is_named() {
    let mut store = store();
    one(&mut store, agent(1, [1, 2])).unwrap();
    let third = Seq::new(3).unwrap();
    let Err(Refused::CounterReused { seq, .. }) = one(&mut store, agent(1, [3])) else {
        panic!("counter 1 is used");
    };
    assert_eq!(seq, third);
    let other = event("acme", 2, "other", serde_json::json!({}));
    let other = submitted("acme", 2, &key(2), &[plain("acme", 3), other]).unwrap();
    let Err(Refused::EventExists { index, event_id: id, seq }) = one(&mut store, other) else {
        panic!("event 2 is recorded");
    };
    assert_eq!((index, id.to_string(), seq.get()), (1, event_id(2), 4));
    // Counter 0 is none, and gaps are allowed.
    for (counter, event) in [(0, 10), (0, 11), (9, 12), (5, 13)] {
        assert!(one(&mut store, agent(counter, [event])).is_ok());
    }
}

#[test]
fn a_key_that_may_not_sign_learns_nothing_of_the_chain() {
    let mut store = store();
    one(&mut store, agent(1, [1])).unwrap();
    let stranger = submitted("acme", 0, &key(9), &[plain("acme", 1)]).unwrap();
    assert_eq!(refusal(one(&mut store, stranger)), "unknown-key");
}

#[test]
fn a_refused_submission_leaves_no_trace_in_its_group() {
    let mut store = store();
    let other = registered("acme", 50, &key(3), "agent");
    let not_root = submitted("acme", 0, &key(2), std::slice::from_ref(&other)).unwrap();
    // The key would be admitted, its event id is taken: the key must not be set.
    let taken = registered("acme", 1, &key(4), "agent");
    let taken = submitted("acme", 0, &key(1), &[taken]).unwrap();
    let by_4 = submitted("acme", 0, &key(4), &[plain("acme", 60)]).unwrap();
    let unknown = submitted("nowhere", 0, &key(2), &[plain("nowhere", 1)]).unwrap();
    let group = [agent(1, [1]), not_root, taken, by_4, unknown, agent(2, [2])];
    let verdicts = store.record(&group, at(10));
    let found: Vec<_> = verdicts
        .into_iter()
        .map(|verdict| match verdict {
            Ok(verdict) => verdict.recorded.first_seq.to_string(),
            Err(Refused::Key(refusal)) => refusal.code().to_owned(),
            Err(Refused::EventExists { .. }) => "event-exists".to_owned(),
            Err(other) => panic!("{other}"),
        })
        .collect();
    assert_eq!(found, ["3", "not-root", "event-exists", "unknown-key", "no-workspace", "4"]);
}

#[test]
fn a_key_signs_from_the_entry_after_its_registration_within_one_group() {
    let mut store = store();
    let register = registered("acme", 50, &key(3), "root");
    let register = submitted("acme", 0, &key(1), &[register]).unwrap();
    let revoke = submitted("acme", 0, &key(3), &[revoked("acme", 51, &key(1))]).unwrap();
    let last = submitted("acme", 0, &key(3), &[revoked("acme", 52, &key(3))]).unwrap();
    let verdicts = store.record(&[register, revoke, last], at(10));
    assert!(verdicts[0].is_ok() && verdicts[1].is_ok());
    let Err(Refused::Key(refusal)) = &verdicts[2] else {
        panic!("the last root key stays");
    };
    assert_eq!(**refusal, Refusal::LastRoot(key(3).public()));
}

#[test]
fn a_clock_behind_is_held_for_a_second_and_then_refused() {
    let mut store = store();
    let mut record = |n, now| store.record(&[agent(0, [n])], now).remove(0);
    assert_eq!(record(1, at(5 * SECOND)).unwrap().recorded.recorded_at, at(5 * SECOND));
    assert_eq!(record(2, at(4 * SECOND)).unwrap().recorded.recorded_at, at(5 * SECOND));
    assert!(matches!(record(3, at(4 * SECOND - 1)), Err(Refused::Clock(_))));
    assert_eq!(record(3, at(6 * SECOND)).unwrap().recorded.recorded_at, at(6 * SECOND));
}

#[test]
fn nothing_is_recorded_behind_the_fence() {
    let mut store = store();
    store.not_before = 10 * SECOND;
    let mut record = |n, now| store.record(&[agent(0, [n])], now).remove(0);
    assert!(matches!(record(1, at(9 * SECOND - 1)), Err(Refused::Clock(_))));
    assert_eq!(record(1, at(9 * SECOND)).unwrap().recorded.recorded_at, at(10 * SECOND));
}

/// FAULTS 15: a clock that jumps about, in small: 10,000 steps.
#[test]
fn recorded_at_never_falls_whatever_the_clock_does() {
    let mut store = store();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let faults = prop_oneof![
        90 => -1_500_000_i64..1_500_000,
        8 => Just(0_i64),
        1 => -600 * SECOND..0,
        1 => 0..20 * SECOND,
    ];
    let mut recorded = 0_u32;
    for n in 0..10_000_u32 {
        let fault = faults.new_tree(&mut runner).unwrap().current();
        let now = 600 * SECOND + i64::from(n) * SECOND / 10 + fault;
        // `Store::write` fails where a time falls.
        match store.record(&[agent(0, [u64::from(n) + 10_000])], at(now)).remove(0) {
            Ok(_) => recorded += 1,
            Err(Refused::Clock(error)) => assert!(error.now < error.last),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(recorded > 1_000, "{recorded} of 10,000 were recorded");
}

/// A submission that may or may not be recorded.
#[derive(Clone, Debug)]
struct Try {
    workspace: usize,
    signer: u8,
    counter: u64,
    kind: u8,
    events: Vec<u64>,
}

fn any_try() -> impl Strategy<Value = Try> {
    let events = proptest::collection::btree_set(0_u64..40, 1..4);
    (0_usize..3, 1_u8..5, 0_u64..6, 0_u8..8, events).prop_map(
        |(workspace, signer, counter, kind, events)| Try {
            workspace,
            signer,
            counter,
            kind,
            events: events.into_iter().collect(),
        },
    )
}

impl Try {
    fn submission(&self) -> Submission {
        let name = ["acme", "beta", "gamma"][self.workspace];
        let (signer, other) = (key(self.signer), key(1 + self.events[0] as u8 % 4));
        let n = self.events[0];
        let payloads = match self.kind {
            0 => vec![created(
                name,
                n,
                &[&key(1), &other][..1 + usize::from(other.public() != key(1).public())],
            )],
            1 => vec![registered(name, n, &other, "agent")],
            2 => vec![registered(name, n, &other, "root")],
            3 => vec![revoked(name, n, &other)],
            _ => self.events.iter().map(|n| plain(name, *n)).collect(),
        };
        submitted(name, self.counter, &signer, &payloads).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However submissions are grouped, the chains come out the same: a group is nothing but its
    /// submissions, one after the other. `Store::write` checks every seq, link, time and id.
    #[test]
    fn groups_are_only_a_way_to_go_faster(
        tries in proptest::collection::vec(any_try(), 1..40),
        size in 1_usize..10,
    ) {
        let submissions: Vec<_> = tries.iter().map(Try::submission).collect();
        let (mut grouped, mut single) = (store(), store());
        let (mut by_group, mut one_by_one) = (Vec::new(), Vec::new());
        for group in submissions.chunks(size) {
            by_group.extend(grouped.record(group, at(100)));
        }
        for submission in submissions {
            one_by_one.extend(single.record(&[submission], at(100)));
        }
        prop_assert_eq!(by_group, one_by_one);
        prop_assert_eq!(grouped.entries, single.entries);
        prop_assert_eq!(grouped.chains, single.chains);
    }
}
