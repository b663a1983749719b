//! Where sealing takes up again: what the store has published, against what the database knows.
//!
//! The store leads by at most the hour that was being marked when an archiver died: its checkpoint
//! is written before the database hears of it. Nothing else may differ, and nothing is written
//! before that is known.

use ledger::checkpoint::Checkpoint;
use ledger::hash::Digest;
use ledger::layout::Artefact;
use ledger::line::KeyLine;
use ledger::merkle::leaf_hash;
use ledger::note::{Note, VerifierKey};
use sqlx::PgConnection;

use crate::keys;
use crate::log::{Log, read_leaves, superseded};
use crate::state::{Mark, Published, State, save};
use crate::vault::Vault;
use crate::{Disagreement, SealError};

/// Where sealing goes on.
#[derive(Debug)]
pub struct Start {
    /// What is sealed.
    pub state: State,
    /// The log, at its right edge.
    pub log: Log,
    /// The store's checkpoint; none before the first hour is sealed.
    pub checkpoint: Option<String>,
    /// The seal keys, in order, up to the one in force.
    pub line: KeyLine,
    /// Leaves that the store had and the database did not know.
    pub recovered: u64,
}

/// Reads a checkpoint that this seal key has signed.
fn read(text: &str, key: &VerifierKey) -> Result<Checkpoint, Disagreement> {
    let note = Note::parse(text.as_bytes()).map_err(wrong)?;
    note.verify(key).map_err(wrong)?;
    parse(&note, key)
}

fn wrong(error: impl ToString) -> Disagreement {
    Disagreement::Checkpoint(error.to_string())
}

fn parse(note: &Note<'_>, key: &VerifierKey) -> Result<Checkpoint, Disagreement> {
    let checkpoint = Checkpoint::parse(note.body()).map_err(wrong)?;
    // A seal key's name is its ledger's origin.
    if checkpoint.origin.as_str() == key.name() {
        Ok(checkpoint)
    } else {
        Err(Disagreement::Checkpoint(format!("it is of the ledger {}", checkpoint.origin)))
    }
}

/// Compares store and database, and lets the database catch up. `configured` is the key in force
/// where the database knows of no change of keys.
pub async fn recover(
    conn: &mut PgConnection,
    vault: &dyn Vault,
    configured: &VerifierKey,
) -> Result<Start, SealError> {
    let published = Published::load(conn).await?;
    let mut state = State::load(conn).await?;
    let line = keys::load(conn).await?;
    let mut line = line.unwrap_or_else(|| KeyLine::starting_with(configured.clone()));
    let Some(stored) = vault.get(&Artefact::Checkpoint.to_string())? else {
        return match published {
            None => Ok(Start { state, log: Log::new(), checkpoint: None, line, recovered: 0 }),
            Some(Published { size, .. }) => Err(Disagreement::StoreEmpty { size }.into()),
        };
    };
    let stored =
        String::from_utf8(stored).map_err(|error| Disagreement::Checkpoint(error.to_string()))?;
    let note = Note::parse(stored.as_bytes()).map_err(wrong)?;
    let checkpoint = parse(&note, configured)?;
    let (size, root) = match &published {
        None => (0, Log::new().root()),
        Some(known) => (known.size, read(&known.note, line.in_force())?.root),
    };
    // Behind the database's end, the log may say that another key is in force.
    let unsigned = note.verify(line.in_force()).err().map(wrong);
    if checkpoint.size < size {
        return Err(unsigned
            .unwrap_or(Disagreement::StoreBehind { database: size, store: checkpoint.size })
            .into());
    }
    let read = read_on(vault, size, &checkpoint, &mut line, &mut state);
    // Of an unsigned checkpoint nothing counts: not what it leads to either.
    if note.verify(line.in_force()).is_err() {
        return Err(unsigned.unwrap_or_else(|| wrong("another key has signed it")).into());
    }
    let Read { mut log, marks, prefix } = read?;
    if prefix != root || log.root() != checkpoint.root {
        return Err(Disagreement::Forked { size, store: checkpoint.size }.into());
    }
    if !marks.is_empty() {
        for artefact in superseded(size, checkpoint.size) {
            vault.remove(&artefact.to_string())?;
        }
        // The objects that the leaves fill are in the store: it has a checkpoint over them.
        log.take_bundles()?;
        log.take_tiles();
        let published = Published { size: checkpoint.size, note: stored.clone() };
        save(conn, &marks, &published).await?;
    }
    let recovered = checkpoint.size - size;
    Ok(Start { state, log, checkpoint: Some(stored), line, recovered })
}

/// The store's log, and its leaves that the database does not know.
struct Read {
    log: Log,
    marks: Vec<Mark>,
    /// The root over the leaves that the database knows.
    prefix: Digest,
}

/// Reads the log behind the database's end. What the database knows must be a prefix of it, and the
/// leaves behind that must lead to the store's checkpoint: together that is a consistency proof.
fn read_on(
    vault: &dyn Vault,
    size: u64,
    checkpoint: &Checkpoint,
    line: &mut KeyLine,
    state: &mut State,
) -> Result<Read, SealError> {
    let mut log = Log::load(vault, size, checkpoint.size)?;
    let leaves = read_leaves(vault, size, checkpoint.size)?;
    let prefix = log.root();
    let mut tree = log.frontier();
    let mut marks = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        let index = log.append(leaf)?;
        let mark = Mark::read(leaf, line, &tree, &checkpoint.origin)
            .map_err(|error| Disagreement::Leaf { index, error })?;
        tree.push(leaf_hash(leaf));
        if let Mark::Keys { line: behind, .. } = &mark {
            line.clone_from(behind);
        }
        state.apply(&mark);
        marks.push(mark);
    }
    Ok(Read { log, marks, prefix })
}
