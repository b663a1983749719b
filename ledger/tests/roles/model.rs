//! Random submissions against the rules written down a second time.

use std::collections::BTreeMap;

use ledger::chain::{KeyRecord, Keys, Role};
use ledger::key::PublicKey;
use proptest::prelude::*;

use crate::support::{created, erased, key, plain, registered, revoked, seq};

/// What a random submission tries.
#[derive(Clone, Debug)]
enum Try {
    Plain,
    Register(u8, Role),
    Revoke(u8),
    Erase,
}

fn tries() -> impl Strategy<Value = Try> {
    let roles = prop::sample::select(vec![Role::Root, Role::Agent, Role::Custodian]);
    prop_oneof![
        Just(Try::Plain),
        (1_u8..7, roles).prop_map(|(key, role)| Try::Register(key, role)),
        (1_u8..7).prop_map(Try::Revoke),
        Just(Try::Erase),
    ]
}

/// The rules of FORMAT section 6 over plain tuples: role, registered at, revoked at.
fn model(
    keys: &mut BTreeMap<u8, (Role, u64, Option<u64>)>,
    signer: u8,
    at: u64,
    attempt: &Try,
) -> Option<Role> {
    let (role, registered, revoked) = *keys.get(&signer)?;
    if at <= registered || revoked.is_some_and(|revoked| at >= revoked) {
        return None;
    }
    if !matches!(attempt, Try::Plain) && role != Role::Root {
        return None;
    }
    match attempt {
        Try::Register(key, role) => {
            if keys.contains_key(key) {
                return None;
            }
            keys.insert(*key, (*role, at, None));
        }
        Try::Revoke(key) => {
            let live =
                |(role, _, revoked): &(Role, u64, Option<u64>)| revoked.is_none().then_some(*role);
            let role = keys.get(key).and_then(live)?;
            let roots = keys.values().filter(|record| live(record) == Some(Role::Root)).count();
            if role == Role::Root && roots < 2 {
                return None;
            }
            keys.entry(*key).and_modify(|(_, _, revoked)| *revoked = Some(at));
        }
        Try::Plain | Try::Erase => {}
    }
    Some(role)
}

proptest! {
    #[test]
    fn keys_are_as_the_model_has_them(steps in prop::collection::vec((1_u8..7, tries()), 1..60)) {
        let mut keys = Keys::new();
        keys.admit(&key(1), seq(1), &created(&[1, 2])).unwrap();
        let mut expected = BTreeMap::from([(1, (Role::Root, 1, None)), (2, (Role::Root, 1, None))]);
        let mut at = 2;
        for (signer, attempt) in steps {
            let acts = match &attempt {
                Try::Plain => plain(&[""]),
                Try::Register(key, role) => registered(*key, *role, None),
                Try::Revoke(key) => revoked(*key),
                Try::Erase => erased(),
            };
            let admitted = keys.admit(&key(signer), seq(at), &acts).ok();
            prop_assert_eq!(admitted, model(&mut expected, signer, at, &attempt), "{:?} by {}", attempt, signer);
            at += u64::from(admitted.is_some());
        }
        let found: BTreeMap<PublicKey, KeyRecord> = keys.iter().map(|(k, r)| (*k, r.clone())).collect();
        prop_assert_eq!(found.len(), expected.len());
        for (seed, (role, registered, revoked)) in expected {
            let record = keys.get(&key(seed)).unwrap();
            prop_assert_eq!(record.role, role);
            prop_assert_eq!(record.registered, seq(registered));
            prop_assert_eq!(record.revoked, revoked.map(seq));
        }
    }
}
