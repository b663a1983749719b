//! Where sealing takes up again: what the store has published, against what the database knows.
//!
//! The store leads by at most the hour that was being marked when an archiver died: its checkpoint
//! is written before the database hears of it. Nothing else may differ, and nothing is written
//! before that is known.

use ledger::checkpoint::Checkpoint;
use ledger::layout::Artefact;
use ledger::note::{Note, NoteSigner};
use sqlx::PgConnection;

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
    /// Leaves that the store had and the database did not know.
    pub recovered: u64,
}

/// Reads a checkpoint that this ledger's seal key has signed.
fn read(text: &str, signer: &NoteSigner) -> Result<Checkpoint, Disagreement> {
    let key = signer.verifier();
    let body = Note::parse(text.as_bytes()).and_then(|note| note.verify(key));
    let checkpoint = body
        .map_err(|error| error.to_string())
        .and_then(|body| Checkpoint::parse(body).map_err(|error| error.to_string()))
        .map_err(Disagreement::Checkpoint)?;
    // A seal key's name is its ledger's origin.
    if checkpoint.origin.as_str() == key.name() {
        Ok(checkpoint)
    } else {
        Err(Disagreement::Checkpoint(format!("it is of the ledger {}", checkpoint.origin)))
    }
}

/// Compares store and database, and lets the database catch up.
pub async fn recover(
    conn: &mut PgConnection,
    vault: &dyn Vault,
    signer: &NoteSigner,
) -> Result<Start, SealError> {
    let published = Published::load(conn).await?;
    let mut state = State::load(conn).await?;
    let Some(stored) = vault.get(&Artefact::Checkpoint.to_string())? else {
        return match published {
            None => Ok(Start { state, log: Log::new(), checkpoint: None, recovered: 0 }),
            Some(Published { size, .. }) => Err(Disagreement::StoreEmpty { size }.into()),
        };
    };
    let stored =
        String::from_utf8(stored).map_err(|error| Disagreement::Checkpoint(error.to_string()))?;
    let checkpoint = read(&stored, signer)?;
    let (size, root) = match &published {
        None => (0, Log::new().root()),
        Some(known) => (known.size, read(&known.note, signer)?.root),
    };
    if checkpoint.size < size {
        return Err(Disagreement::StoreBehind { database: size, store: checkpoint.size }.into());
    }
    // What the database knows must be a prefix of the store's log, and the leaves behind it must
    // lead to the store's checkpoint: together that is a consistency proof.
    let mut log = Log::load(vault, size, checkpoint.size)?;
    let leaves = read_leaves(vault, size, checkpoint.size)?;
    let prefix = log.root();
    let mut marks = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        let index = log.append(leaf)?;
        let origin = &checkpoint.origin;
        let mark = Mark::read(leaf, signer.verifier(), origin)
            .map_err(|error| Disagreement::Leaf { index, error })?;
        state.apply(&mark);
        marks.push(mark);
    }
    if prefix != root || log.root() != checkpoint.root {
        return Err(Disagreement::Forked { size, store: checkpoint.size }.into());
    }
    if !leaves.is_empty() {
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
    Ok(Start { state, log, checkpoint: Some(stored), recovered })
}
