//! Lies about what was submitted and recorded.

use ledger::hash::Digest;
use ledger::key::Signature;
use ledger::submission::{Counter, Statement};

use crate::forge::{Lie, Row, set_payload};
use crate::lies::{Case, case};
use crate::plan::{created, erased, event, id, key, origin, registered, sub, workspace};

/// The three rows of the one submission of several events.
fn submission(rows: &mut [Row]) -> &mut [Row] {
    &mut rows[2..5]
}

/// What the submission would be called with this key and signature.
fn rename(rows: &mut [Row]) {
    let digests: Vec<Digest> =
        rows.iter().map(|row| Digest::from_bytes(row.payload_digest)).collect();
    let counter = Counter::new(rows[0].counter).unwrap();
    let acme = workspace("acme");
    let statement = Statement::new(&origin(), &acme, counter, &digests);
    let signature = Signature::from_bytes(rows[0].signature);
    let name = statement.submission_hash(&rows[0].public_key, &signature);
    rows.iter_mut().for_each(|row| row.submission_hash = *name.as_bytes());
}

pub fn cases() -> Vec<Case> {
    [objects(), rows(), submissions(), chain()].into_iter().flatten().collect()
}

fn objects() -> Vec<Case> {
    vec![
        case(
            "a row is missing at the end",
            Lie::Object(0, |rows| drop(rows.pop())),
            &[
                "T060 events/acme/16/01-05.parquet",
                "T068 events/acme/16/01-05.parquet seq=5 link",
                "T069 events/acme/16/01-05.parquet",
                "T070 events/acme/16/01-05.parquet seq=3 submission_count",
            ],
        ),
        case(
            "a row is missing in between",
            Lie::Object(0, |rows| drop(rows.remove(1))),
            &[
                "T060 events/acme/16/01-05.parquet",
                "T061 events/acme/16/01-05.parquet seq=3 seq",
                "T067 events/acme/16/01-05.parquet seq=3 link",
                "T069 events/acme/16/01-05.parquet",
                "T080 acme seq=3 public_key",
                "T080 acme seq=6 public_key",
                "T080 acme seq=7 public_key",
            ],
        ),
        case(
            "two rows change places",
            Lie::Object(0, |rows| rows.swap(0, 1)),
            &[
                "T061 events/acme/16/01-05.parquet seq=1 seq",
                "T061 events/acme/16/01-05.parquet seq=2 seq",
                "T061 events/acme/16/01-05.parquet seq=3 seq",
                "T062 events/acme/16/01-05.parquet seq=1 recorded_at",
                "T062 events/acme/16/01-05.parquet seq=2 recorded_at",
                "T067 events/acme/16/01-05.parquet seq=1 link",
                "T067 events/acme/16/01-05.parquet seq=2 link",
                "T067 events/acme/16/01-05.parquet seq=3 link",
                "T069 events/acme/16/01-05.parquet",
                "T080 acme seq=2 public_key",
                "T080 acme seq=3 public_key",
                "T080 acme seq=6 public_key",
                "T080 acme seq=7 public_key",
            ],
        ),
        case(
            "a seq is none",
            Lie::Object(1, |rows| rows[0].seq = 0),
            &[
                "T061 events/acme/16/06-06.parquet seq=0 seq",
                "T061 events/acme/16/06-06.parquet seq=0 seq",
                "T068 events/acme/16/06-06.parquet seq=6 link",
                "T069 events/acme/16/06-06.parquet",
                "T112 acme",
            ],
        ),
        case(
            "a time is none",
            Lie::Object(1, |rows| rows[0].recorded_at = -1),
            &[
                "T062 events/acme/16/06-06.parquet seq=6 recorded_at",
                "T068 events/acme/16/06-06.parquet seq=6 link",
                "T069 events/acme/16/06-06.parquet",
                "T112 acme",
            ],
        ),
        case(
            "a time falls",
            Lie::Object(0, |rows| rows[1].recorded_at -= 1_500_000),
            &[
                "T062 events/acme/16/01-05.parquet seq=2 recorded_at",
                "T067 events/acme/16/01-05.parquet seq=2 link",
                "T069 events/acme/16/01-05.parquet",
            ],
        ),
        case(
            "a last time leaves the hour",
            Lie::Object(3, |rows| rows[1].recorded_at += ledger::time::HOUR),
            &[
                "T062 events/beta/18/01-02.parquet seq=2 recorded_at",
                "T062 events/beta/18/01-02.parquet seq=2 recorded_at",
                "T067 events/beta/18/01-02.parquet seq=2 link",
                "T069 events/beta/18/01-02.parquet",
            ],
        ),
        case(
            "a link is another",
            Lie::Object(0, |rows| rows[1].link[7] ^= 1),
            &[
                "T067 events/acme/16/01-05.parquet seq=2 link",
                "T067 events/acme/16/01-05.parquet seq=3 link",
            ],
        ),
    ]
}

fn rows() -> Vec<Case> {
    vec![
        case(
            "another payload",
            Lie::Rows(|chunks| {
                let name = chunks[0].workspace.clone();
                let payload = event("acme", 4, "business_event", r#","input_tokens":6"#);
                set_payload(&mut chunks[0].rows[3], &name, payload);
            }),
            &["T063 events/acme/16/01-05.parquet seq=4 payload"],
        ),
        case(
            "another payload with its own digest",
            Lie::Rows(|chunks| {
                let name = chunks[0].workspace.clone();
                let payload = event("acme", 4, "business_event", r#","input_tokens":6"#);
                let row = &mut chunks[0].rows[3];
                set_payload(row, &name, payload);
                row.payload_digest = *Digest::of(row.payload.unwrap()).as_bytes();
            }),
            &[
                "T073 events/acme/16/01-05.parquet seq=3 signature",
                "T074 events/acme/16/01-05.parquet seq=3 submission_hash",
            ],
        ),
        case(
            "a payload that the rules refuse",
            Lie::Plan(|plan| {
                let payload = event("acme", 6, "business_event", r#","model":"a","model":"b""#);
                plan.hours[0].1[1].subs[0].payloads = vec![payload];
            }),
            &["T064 events/acme/16/06-06.parquet seq=6 payload"],
        ),
        case(
            "a payload of another workspace",
            Lie::Plan(|plan| {
                plan.hours[0].1[1].subs[0].payloads = vec![event("beta", 2, "business_event", "")];
            }),
            &["T064 events/acme/16/06-06.parquet seq=6 payload"],
        ),
        case(
            "another event_id",
            Lie::Rows(|chunks| chunks[1].rows[0].event_id = *id("acme", 99).as_bytes()),
            &["T065 events/acme/16/06-06.parquet seq=6 event_id"],
        ),
        case(
            "the nil event_id",
            Lie::Rows(|chunks| chunks[3].rows[1].event_id = [0; 16]),
            &[
                "T065 events/beta/18/01-02.parquet seq=2 event_id",
                "T068 events/beta/18/01-02.parquet seq=2 link",
                "T069 events/beta/18/01-02.parquet",
                "T112 beta",
            ],
        ),
        case(
            "another number of tokens",
            Lie::Rows(|chunks| chunks[2].rows[1].derived.input_tokens = Some(4)),
            &["T066 events/acme/18/07-08.parquet seq=8 input_tokens"],
        ),
        case(
            "another event_type",
            Lie::Rows(|chunks| chunks[1].rows[0].derived.event_type = "llm_call".into()),
            &["T066 events/acme/16/06-06.parquet seq=6 event_type"],
        ),
        case(
            "an actor that the payload names, left out",
            Lie::Rows(|chunks| chunks[1].rows[0].derived.actor_id = None),
            &["T066 events/acme/16/06-06.parquet seq=6 actor_id"],
        ),
    ]
}

fn submissions() -> Vec<Case> {
    vec![
        case(
            "a submission said to be longer",
            Lie::Rows(|chunks| {
                submission(&mut chunks[0].rows).iter_mut().for_each(|row| row.submission_count = 4);
            }),
            &["T070 events/acme/16/01-05.parquet seq=3 submission_count"],
        ),
        case(
            "an index that is skipped",
            Lie::Rows(|chunks| chunks[0].rows[4].submission_index = 3),
            &[
                "T070 events/acme/16/01-05.parquet seq=3 submission_count",
                "T070 events/acme/16/01-05.parquet seq=5 submission_count",
                "T070 events/acme/16/01-05.parquet seq=5 submission_index",
            ],
        ),
        case(
            "an index that starts late",
            Lie::Rows(|chunks| chunks[1].rows[0].submission_index = 1),
            &["T070 events/acme/16/06-06.parquet seq=6 submission_index"],
        ),
        case(
            "a counter that differs inside a submission",
            Lie::Rows(|chunks| chunks[0].rows[3].counter = 9),
            &["T071 events/acme/16/01-05.parquet seq=4 counter"],
        ),
        case(
            "a time that differs inside a submission",
            Lie::Rows(|chunks| chunks[2].rows[1].recorded_at += 1),
            &["T071 events/acme/18/07-08.parquet seq=8 recorded_at"],
        ),
        case(
            "a counter that is too large",
            Lie::Rows(|chunks| chunks[1].rows[0].counter = u64::MAX),
            &["T071 events/acme/16/06-06.parquet seq=6 counter"],
        ),
        case(
            "another counter than was signed",
            Lie::Rows(|chunks| chunks[1].rows[0].counter = 4),
            &[
                "T073 events/acme/16/06-06.parquet seq=6 signature",
                "T074 events/acme/16/06-06.parquet seq=6 submission_hash",
            ],
        ),
        case(
            "a key of small order",
            Lie::Rows(|chunks| chunks[1].rows[0].public_key = [0; 32]),
            &["T072 events/acme/16/06-06.parquet seq=6 public_key"],
        ),
        case(
            "a key that is not canonical",
            Lie::Rows(|chunks| chunks[1].rows[0].public_key = [0xff; 32]),
            &["T072 events/acme/16/06-06.parquet seq=6 public_key"],
        ),
        case(
            "a signature with a bit flipped",
            Lie::Rows(|chunks| {
                let rows = submission(&mut chunks[0].rows);
                rows.iter_mut().for_each(|row| row.signature[40] ^= 1);
                rename(rows);
            }),
            &["T073 events/acme/16/01-05.parquet seq=3 signature"],
        ),
        case(
            "a key that did not sign",
            Lie::Rows(|chunks| {
                let rows = &mut chunks[1].rows;
                rows[0].public_key = *key(1).public().as_bytes();
                rename(rows);
            }),
            &["T073 events/acme/16/06-06.parquet seq=6 signature"],
        ),
        case(
            "another submission_hash",
            Lie::Rows(|chunks| {
                submission(&mut chunks[0].rows)
                    .iter_mut()
                    .for_each(|row| row.submission_hash[0] ^= 1);
            }),
            &["T074 events/acme/16/01-05.parquet seq=3 submission_hash"],
        ),
    ]
}

fn chain() -> Vec<Case> {
    vec![
        case(
            "a key that was never registered",
            Lie::Plan(|plan| plan.hours[0].1[1].subs[0].key = 9),
            &["T080 acme seq=6 public_key"],
        ),
        case(
            "a ledger event signed by an agent",
            Lie::Plan(|plan| {
                let payload = registered("acme", 6, 4, "agent");
                plan.hours[0].1[1].subs[0].payloads = vec![payload];
            }),
            &["T080 acme seq=6 public_key"],
        ),
        case(
            "a ledger event of no meaning",
            Lie::Plan(|plan| {
                let payload = event("acme", 6, "ledger.key_registered", r#","context":{}"#);
                plan.hours[0].1[1].subs[0] = sub(1, 0, 4, vec![payload]);
            }),
            &["T081 acme seq=6 payload"],
        ),
        case(
            "a workspace that is created again",
            Lie::Plan(|plan| {
                let payload = created("acme", 9)
                    .replace(&id("acme", 1).to_string(), &id("acme", 6).to_string());
                plan.hours[0].1[1].subs[0] = sub(9, 0, 4, vec![payload]);
            }),
            &["T080 acme seq=6 public_key"],
        ),
        case(
            "an event_id that is recorded twice",
            Lie::Plan(|plan| {
                plan.hours[0].1[1].subs[0].payloads = vec![event("acme", 4, "business_event", "")];
            }),
            &["T082 acme seq=6 event_id"],
        ),
        case(
            "a counter that is used twice",
            Lie::Plan(|plan| plan.hours[0].1[1].subs[0].counter = 1),
            &["T083 acme seq=6 counter"],
        ),
        case(
            "other root keys than the auditor knows",
            Lie::Auditor(|trust, _| {
                trust.workspaces.values_mut().for_each(|keys| *keys = vec![key(9).public()]);
            }),
            &["T091 acme seq=1 payload", "T091 beta seq=1 payload"],
        ),
        case(
            "an erasure that an agent signed",
            Lie::Plan(|plan| {
                plan.hours[2].1[0].subs[0] = sub(2, 3, 5, vec![erased("acme", 7, 6)]);
                plan.withheld = vec![("acme", 6)];
            }),
            &["T080 acme seq=7 public_key", "T084 acme seq=6 payload"],
        ),
        // Notices: no finding of the table, and the verdict stays.
        case(
            "a counter that never came",
            Lie::Plan(|plan| plan.hours[0].1[1].subs[0].counter = 5),
            &[],
        ),
        case(
            "events of the custodian",
            Lie::Plan(|plan| {
                plan.hours[0].1[0].subs[1].payloads = vec![registered("acme", 2, 2, "custodian")];
            }),
            &[],
        ),
        case(
            "root keys that the auditor does not know",
            Lie::Auditor(|trust, _| trust.workspaces.clear()),
            &[],
        ),
    ]
}
