//! The log of an archive, read whole and checked, without the rest of the archive: what a proof of one
//! event and the comparison of receipts start from.

use ledger::layout::Artefact;
use ledger::verify::{Audit, Finding, LoggedEnd, Need, Policy, Trust};

use crate::store::{ArchiveSource, SourceError};

/// Reads the log and checks it as the audit of an archive does: every leaf, every signature, the root.
/// `on_leaf` is given each leaf, in order, before it is known whether the log stands.
///
/// Gives the audit, which knows the chunks, and the log's end; or what was found.
pub fn read<S: ArchiveSource>(
    source: &S,
    trust: &Trust,
    mut on_leaf: impl FnMut(u64, &[u8]),
) -> Result<(Audit, LoggedEnd), Vec<Finding>> {
    let mut audit = Audit::new(trust.clone(), Policy::default());
    let mut next = 0;
    while let Some(need) = audit.need() {
        match &need {
            Need::Listing => match listing(source) {
                Ok(keys) => audit.listing(keys),
                Err(error) => audit.unreadable(&need, error),
            },
            Need::Object(artefact @ (Artefact::Checkpoint | Artefact::Bundle { .. })) => {
                match source.get(&artefact.to_string()) {
                    Ok(bytes) => {
                        for leaf in leaves(artefact, bytes.as_deref()) {
                            on_leaf(next, leaf);
                            next += 1;
                        }
                        audit.object(artefact, bytes.as_deref());
                    }
                    Err(error) => audit.unreadable(&need, error),
                }
            }
            // From here on it is the archive's other objects.
            Need::Object(_) | Need::Chunk { .. } => break,
        }
    }
    let end = audit.log_end()?;
    Ok((audit, end))
}

/// What lies there matters only where there is no checkpoint: an archive that lost it, or none at all.
fn listing<S: ArchiveSource>(source: &S) -> Result<Vec<String>, SourceError> {
    match source.get(&Artefact::Checkpoint.to_string())? {
        Some(_) => Ok(Vec::new()),
        None => source.list(),
    }
}

/// The leaves of a bundle; none where it is no bundle, which the audit then says.
pub(crate) fn leaves<'b>(artefact: &Artefact, bytes: Option<&'b [u8]>) -> Vec<&'b [u8]> {
    match (artefact, bytes) {
        (Artefact::Bundle { width, .. }, Some(bytes)) => {
            ledger::layout::decode_bundle(bytes, *width).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}
