//! What this process has seen recorded: heads, and keys.
//!
//! Here: what receipts were given for, so that a database that lacks it is found out, as after a
//! fail-over to a replica without the last commits; and which keys are registered, so that nobody has
//! to look for them. Kept by whoever commits, so that it does not depend on a client that waits. Not
//! here: the database ([`super::commit`], [`crate::access::known`]).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ledger::key::PublicKey;
use ledger::names::Workspace;

use super::plan::{Advance, Head};
use crate::store::StoreError;

/// Most keys that are remembered, each in less than 200 bytes. Where there are more, all are
/// forgotten and looked for again.
const KEYS: usize = 100_000;

/// The newest head of each workspace, and keys.
#[derive(Debug, Default)]
pub struct Seen {
    heads: Mutex<Heads>,
    keys: Mutex<HashSet<(Workspace, PublicKey)>>,
}

#[derive(Debug, Default)]
struct Heads {
    newest: HashMap<Workspace, Head>,
    /// Where this process has recorded last.
    last: Option<Workspace>,
}

/// A lock whose holder panicked guards nothing that could be half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    /// Refuses heads that lie behind what was seen, and takes up those that have gone on: a receipt
    /// may be given for whatever lies below a head. `None` where there is no such workspace.
    pub fn check<'a>(
        &self,
        found: impl IntoIterator<Item = (&'a Workspace, Option<Head>)>,
    ) -> Result<(), StoreError> {
        let mut heads = lock(&self.heads);
        for (workspace, found) in found {
            let newest = heads.newest.get(workspace);
            if let Some(newest) = newest {
                not_behind(workspace, *newest, found)?;
            }
            if let Some(found) = found
                && newest.is_none_or(|newest| found.last_seq > newest.last_seq)
            {
                heads.newest.insert(workspace.clone(), found);
            }
        }
        Ok(())
    }

    /// Takes up what this process has recorded.
    pub(super) fn advance(&self, advances: &[Advance]) {
        let mut heads = lock(&self.heads);
        for Advance { workspace, head, .. } in advances {
            // Groups of one workspace may come here in another order than their commits.
            if heads.newest.get(workspace).is_none_or(|newest| newest.last_seq < head.last_seq) {
                heads.newest.insert(workspace.clone(), *head);
            }
            heads.last = Some(workspace.clone());
        }
        drop(heads);
        for Advance { workspace, keys, .. } in advances {
            keys.iter().for_each(|(key, _)| self.has_key_now(workspace.clone(), *key));
        }
    }

    /// The heads that tell whether a database is the ledger to which a stranger's workspace would
    /// belong: its own, where it was seen, and the last that this process has recorded. The
    /// second tells it of workspaces that were never seen, and of all alike: what is answered must
    /// not depend on whether there is such a workspace.
    pub fn witnesses(&self, workspace: &Workspace) -> Vec<(Workspace, Head)> {
        let heads = lock(&self.heads);
        let names: BTreeSet<&Workspace> =
            [Some(workspace), heads.last.as_ref()].into_iter().flatten().collect();
        let witness =
            |name: &&Workspace| heads.newest.get(*name).map(|head| ((*name).clone(), *head));
        names.iter().filter_map(witness).collect()
    }

    /// Whether the workspace is known to have registered the key. Once it has, it has: what is known
    /// stays true.
    pub fn has_key(&self, workspace: &Workspace, key: &PublicKey) -> bool {
        lock(&self.keys).contains(&(workspace.clone(), *key))
    }

    /// Remembers that the workspace has registered the key.
    pub fn has_key_now(&self, workspace: Workspace, key: PublicKey) {
        let mut keys = lock(&self.keys);
        if keys.len() >= KEYS {
            keys.clear();
        }
        keys.insert((workspace, key));
    }
}

/// Refuses a head that lies behind the newest that was seen, or beside it.
pub fn not_behind(
    workspace: &Workspace,
    newest: Head,
    found: Option<Head>,
) -> Result<(), StoreError> {
    match found {
        Some(found) if found == newest || found.last_seq > newest.last_seq => Ok(()),
        found => Err(StoreError::Behind {
            workspace: workspace.clone(),
            found: found.map_or(0, |found| found.last_seq.get()),
            seen: newest.last_seq,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use ledger::chain::{KeyRecord, Role};
    use ledger::hash::Digest;
    use ledger::key::SigningKey;
    use ledger::names::Seq;
    use ledger::time::Micros;

    use super::*;

    fn head(seq: u64, link: &str) -> Head {
        Head {
            last_seq: Seq::new(seq).unwrap(),
            link: Digest::of(link.as_bytes()),
            recorded_at: Micros::EPOCH,
        }
    }

    fn names() -> [Workspace; 3] {
        ["acme", "beta", "nowhere"].map(|name| Workspace::new(name).unwrap())
    }

    fn advance(workspace: &Workspace, seq: u64, key: u8) -> Advance {
        let record = KeyRecord {
            role: Role::Agent,
            actor_id: None,
            registered: Seq::new(seq).unwrap(),
            revoked: None,
            compromised_since: None,
        };
        let key = SigningKey::from_seed(&[key; 32]).public();
        let (workspace, head) = (workspace.clone(), head(seq, "a"));
        let keys = vec![(key, record)];
        Advance { workspace, head, is_first: false, keys, highest: Vec::new() }
    }

    #[test]
    fn a_head_behind_or_beside_what_was_seen_is_refused() {
        let (seen, [acme, ..]) = (Seen::default(), names());
        let check = |found| seen.check([(&acme, found)]).is_ok();
        assert!(check(None) && check(Some(head(5, "a"))) && check(Some(head(5, "a"))));
        assert!(!check(None) && !check(Some(head(4, "a"))) && !check(Some(head(5, "b"))));
        assert!(check(Some(head(7, "a"))) && !check(Some(head(6, "a"))));
    }

    #[test]
    fn what_was_recorded_is_known_without_anyone_who_waits_for_it() {
        let (seen, [acme, beta, nowhere]) = (Seen::default(), names());
        seen.advance(&[advance(&acme, 5, 1)]);
        seen.advance(&[advance(&beta, 9, 2)]);
        let [one, two] = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]).public());
        assert!(seen.has_key(&acme, &one) && seen.has_key(&beta, &two));
        assert!(!seen.has_key(&acme, &two) && !seen.has_key(&nowhere, &one));
        // A workspace that is not there is judged by the one that was recorded last, as all are.
        let both = [(acme.clone(), head(5, "a")), (beta.clone(), head(9, "a"))];
        assert_eq!(seen.witnesses(&acme), both);
        assert_eq!(seen.witnesses(&beta), both[1..]);
        assert_eq!(seen.witnesses(&nowhere), both[1..]);
    }
}
