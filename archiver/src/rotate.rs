//! Changing the seal key: the order of its effects, and nothing else (FORMAT section 11).
//!
//! 1. **Lock** and **recover**, as for sealing; a change that was begun is finished.
//! 2. Before a succession, the old key **finishes what it may have begun**: it seals what has closed, and
//!    carries out erasures. A run that died has left notes signed by it, which no log names yet; the next
//!    key would have to write others in their place, and an object is never written again with other bytes.
//! 3. The **note** is made and signed: a succession by the old key and the new one, a revocation by the
//!    key that is in force behind it. It is **kept** in the database before anything else is written. From
//!    here on the change is what comes next in the log, whoever comes next: objects of the archive are
//!    never written again with other bytes.
//! 4. It is **published** like any leaf (see [`crate::publish`]), under a checkpoint that the new key signs.
//!
//! A run that died is finished by the next one that has the new key, be it as the key to change to or as
//! the one that is configured.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ledger::note::{self, Signer, VerifierKey};
use ledger::succession::{Cutoff, KeyNote, Revocation, Succession};
use ledger::time::Micros;
use sqlx::{Connection as _, PgConnection};

use crate::keys::{self, Pending};
use crate::publish::Batch;
use crate::recover::Start;
use crate::seal::Archiver;
use crate::step::Step;
use crate::{Disagreement, SealError, planned};

/// What is to change.
#[derive(Clone, Debug)]
pub enum Change {
    /// Another key takes the place of the configured one, which signs for it.
    Succeed {
        /// The new key.
        to: Arc<dyn Signer>,
    },
    /// A key was stolen, or lost. The configured one says so; where it is the key in force that was
    /// stolen, it takes its place.
    Revoke {
        /// The stolen key.
        key: Box<VerifierKey>,
    },
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whether this run has published the change: one that died may have come so far, and nothing was
    /// left to do.
    pub published: bool,
    /// The key in force.
    pub in_force: VerifierKey,
    /// The key whose time has ended before that, and its cut-off, as a trust file may name it.
    pub before: Option<(VerifierKey, Cutoff)>,
    /// Leaves in the log.
    pub log_size: u64,
}

fn refuse(reason: impl fmt::Display) -> SealError {
    Disagreement::Change(reason.to_string()).into()
}

impl Archiver<'_> {
    /// Changes the seal key, for a reason in words. What ended `grace` or longer before `now` is sealed
    /// before it, as by [`Archiver::seal`].
    pub async fn change_key(
        &self,
        change: &Change,
        reason: &str,
        now: Micros,
        grace: Duration,
    ) -> Result<Changed, SealError> {
        // Where the database knows of no change yet, the stolen key may be the only one there was.
        let (new, known) = match change {
            Change::Succeed { to } => (Some(to), self.signer.verifier()),
            Change::Revoke { key } => (None, &**key),
        };
        let (mut conn, mut start) = self.open(known).await?;
        let mut published = self.finish_change(&mut conn, &mut start, new).await?;
        if !is_done(change, &start) {
            // Of a key whose time ends now, nothing is published any more.
            if self.signer.verifier() == start.line.in_force() {
                self.finish_planned(&mut conn, &mut start).await?;
            }
            if let Change::Succeed { .. } = change {
                self.check_in_force(&start)?;
                self.seal_closed(&mut conn, &mut start, now, grace).await?;
                self.carry_out_all(&mut conn, &mut start).await?;
            }
            let note = self.key_note(change, reason, &start)?;
            self.keep_change(&mut conn, &start, &note).await?;
            published = self.finish_change(&mut conn, &mut start, new).await?;
        }
        let line = &start.line;
        let before = line.terms().rev().nth(1).map(|term| term.key.clone());
        let before = before.and_then(|key| line.end_of(&key).map(|cutoff| (key, cutoff)));
        let (in_force, log_size) = (line.in_force().clone(), start.log.size());
        Ok(Changed { published, in_force, before, log_size })
    }

    /// Whether what is configured may seal.
    pub(crate) fn check_in_force(&self, start: &Start) -> Result<(), SealError> {
        let (configured, term) = (self.signer.verifier(), start.line.last());
        if *configured == term.key {
            return Ok(());
        }
        let (configured, in_force) = (Box::new(configured.clone()), Box::new(term.key.clone()));
        Err(Disagreement::SealKey { configured, in_force, since: term.before.size }.into())
    }

    /// The note that makes the change, signed.
    fn key_note(&self, change: &Change, reason: &str, start: &Start) -> Result<String, SealError> {
        if start.log.size() == 0 {
            return Err(refuse("nothing is sealed yet, so any key may be configured"));
        }
        let (origin, reason) = (self.origin.clone(), reason.to_owned());
        let (old_key, configured) = (start.line.in_force().clone(), self.signer.clone());
        let (note, signers) = match change {
            Change::Succeed { to } => {
                let new_key = to.verifier().clone();
                let note = Succession { origin, old_key, new_key, reason };
                (KeyNote::Succession(note), vec![configured, to.clone()])
            }
            Change::Revoke { key } => {
                let here = Cutoff { size: start.log.size(), root: start.log.root() };
                let cutoff = match start.line.end_of(key) {
                    _ if **key == old_key && *configured.verifier() == old_key => {
                        return Err(refuse(
                            "the key to revoke is the one that is configured: set `archive.seal_key` to \
                             the file of the key that is to take its place",
                        ));
                    }
                    _ if **key == old_key => here,
                    Some(end) => {
                        self.check_in_force(start)?;
                        end
                    }
                    None => return Err(refuse(format!("the log knows no seal key {key}"))),
                };
                let (key, new_key) = (VerifierKey::clone(key), configured.verifier().clone());
                let note = Revocation { origin, key, cutoff, new_key, reason };
                (KeyNote::Revocation(note), vec![configured])
            }
        };
        let body = note.to_body();
        // A reason of several lines, say, would make another note of it.
        if !KeyNote::parse(&body).is_some_and(|read| read.as_ref() == Ok(&note)) {
            return Err(refuse("keys of two, and a reason in one line of text, make such a note"));
        }
        let signers: Vec<&dyn Signer> = signers.iter().map(|signer| &**signer).collect();
        Ok(note::sign_by(&body, &signers)?)
    }

    /// Keeps the note, once it is certain that the log can take it.
    async fn keep_change(
        &self,
        conn: &mut PgConnection,
        start: &Start,
        note: &str,
    ) -> Result<(), SealError> {
        self.log_leaf(&mut Batch::new(start), note.to_owned())?;
        let index = start.log.size().cast_signed();
        let mut tx = conn.begin().await?;
        planned::forget(&mut tx, None).await?;
        keys::keep(&mut tx, &start.line).await?;
        keys::insert(index, note).execute(&mut *tx).await?;
        tx.commit().await?;
        self.reach(Step::ChangeKept)
    }

    /// Publishes the change that was begun, if one was; says whether. `new` is a key that may sign
    /// beside the one that is configured.
    pub(crate) async fn finish_change(
        &self,
        conn: &mut PgConnection,
        start: &mut Start,
        new: Option<&Arc<dyn Signer>>,
    ) -> Result<bool, SealError> {
        let Some(pending) = keys::pending(conn, start.log.size()).await? else {
            return Ok(false);
        };
        let Pending { index, note, new_key } = pending;
        if index != start.log.size() {
            return Err(refuse(format!("the note kept for leaf {index} has no place in the log")));
        }
        let signer = std::iter::once(&self.signer).chain(new);
        let signer = { signer }.find(|signer| *signer.verifier() == new_key).cloned();
        let signer = signer.ok_or_else(|| Disagreement::ChangeBegun(Box::new(new_key)))?;
        let next = Archiver {
            pool: self.pool.clone(),
            vault: self.vault,
            signer,
            origin: self.origin.clone(),
            limits: self.limits,
            probe: self.probe,
        };
        let mut batch = Batch::new(start);
        next.log_leaf(&mut batch, note)?;
        next.publish(conn, start, batch).await?;
        Ok(true)
    }
}

/// Whether the log says so already.
fn is_done(change: &Change, start: &Start) -> bool {
    match change {
        Change::Succeed { to } => start.line.in_force() == to.verifier(),
        Change::Revoke { key } => start.line.revoked().contains(key),
    }
}
