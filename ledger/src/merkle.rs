//! Merkle trees of RFC 6962 / RFC 9162 (FORMAT section 5).
//!
//! Here: roots, inclusion and consistency proofs, made and checked. Not here: how a log stores its
//! tree (see [`crate::layout`]).

use sha2::{Digest as _, Sha256};

use crate::hash::Digest;

/// `H(0x00 || data)`.
pub fn leaf_hash(data: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0x00]);
    hasher.update(data);
    Digest::from_bytes(hasher.finalize().into())
}

/// `H(0x01 || left || right)`.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0x01]);
    hasher.update(left.as_bytes());
    hasher.update(right.as_bytes());
    Digest::from_bytes(hasher.finalize().into())
}

/// The right edge of a growing tree: the roots of its complete subtrees, largest first.
///
/// Holds at most 64 digests, whatever the size of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Digest>,
}

impl Frontier {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the roots of the complete subtrees of a tree of this size, largest first; `None`
    /// where their number does not fit the size.
    pub fn from_parts(size: u64, roots: Vec<Digest>) -> Option<Self> {
        (roots.len() == usize::try_from(size.count_ones()).ok()?).then_some(Self { size, roots })
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf's hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut root = leaf;
        // Each trailing one bit of the size is a complete subtree that the new leaf completes
        // into one twice as large.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                root = node_hash(&left, &root);
            }
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// The root of the tree; that of the empty tree is `H("")`.
    pub fn root(&self) -> Digest {
        let mut subtrees = self.roots.iter().rev();
        match subtrees.next() {
            None => Digest::of(b""),
            Some(smallest) => subtrees.fold(*smallest, |right, left| node_hash(left, &right)),
        }
    }
}

/// The root over leaf hashes.
pub fn root(leaves: &[Digest]) -> Digest {
    let mut frontier = Frontier::new();
    leaves.iter().for_each(|leaf| frontier.push(*leaf));
    frontier.root()
}

/// Where a tree of two or more leaves splits: the largest power of two below its size.
fn split(leaves: &[Digest]) -> Option<(&[Digest], &[Digest])> {
    if leaves.len() < 2 {
        return None;
    }
    leaves.split_at_checked(leaves.len().next_power_of_two() / 2)
}

/// The path that proves leaf `index` to the root over `leaves`; `None` outside the tree.
pub fn inclusion_path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let (mut leaves, mut index, mut path) = (leaves, index, Vec::new());
    while let Some((left, right)) = split(leaves) {
        if index < left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    path.reverse();
    Some(path)
}

/// The path that proves the tree over the first `old` leaves to be a prefix of that over all;
/// `None` where `old` is larger than the tree.
pub fn consistency_path(leaves: &[Digest], old: usize) -> Option<Vec<Digest>> {
    if old > leaves.len() {
        return None;
    }
    if old == 0 {
        return Some(Vec::new());
    }
    let (mut leaves, mut old, mut path) = (leaves, old, Vec::new());
    // The old tree's root is known to whoever asks, so it is left out where it is a whole subtree
    // reached by left turns alone.
    let mut known = true;
    while old != leaves.len() {
        let Some((left, right)) = split(leaves) else {
            break;
        };
        if old <= left.len() {
            path.push(root(right));
            leaves = left;
        } else {
            path.push(root(left));
            old -= left.len();
            leaves = right;
            known = false;
        }
    }
    if !known {
        path.push(root(leaves));
    }
    path.reverse();
    Some(path)
}

/// A proof does not lead to the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The leaf lies outside the tree, or the old tree is the larger one.
    #[error("{what} {at} lies outside a tree of {size} leaves")]
    Outside {
        /// `leaf` or `old tree`.
        what: &'static str,
        /// The index or the old size.
        at: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// Too many or too few digests for a tree of this size.
    #[error("the path has the wrong length for this tree")]
    Length,
    /// The path leads to another root.
    #[error("the path leads to root {found}, not to {expected}")]
    Root {
        /// The root that was to be reached.
        expected: Digest,
        /// The root that the path leads to.
        found: Digest,
    },
}

fn reach(expected: &Digest, found: Digest) -> Result<(), ProofError> {
    if found == *expected { Ok(()) } else { Err(ProofError::Root { expected: *expected, found }) }
}

/// Checks that `leaf` is leaf `index` of the tree of `size` leaves with this root
/// (RFC 9162 section 2.1.3.2).
pub fn check_inclusion(
    tree_root: &Digest,
    size: u64,
    index: u64,
    leaf: &Digest,
    path: &[Digest],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Outside { what: "leaf", at: index, size });
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    reach(tree_root, hash)
}

/// The tree over the leaves before leaf `index`, out of the path that proves this leaf; `None` where
/// the path is none of such a leaf. It is as true as the path: check that first.
///
/// What stands to the left of the path are the complete subtrees that the leaves before come to.
pub fn before(size: u64, index: u64, path: &[Digest]) -> Option<Frontier> {
    let (mut node, mut last) = (index, size.checked_sub(1)?);
    let mut left = Vec::new();
    for sibling in path {
        if node & 1 == 1 || node == last {
            left.push(*sibling);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        }
        node >>= 1;
        last >>= 1;
    }
    left.reverse();
    Frontier::from_parts(index, left)
}

/// Checks that the tree of `old_size` leaves with root `old_root` is a prefix of that of `size`
/// leaves with root `new_root` (RFC 9162 section 2.1.4.2).
pub fn check_consistency(
    old_size: u64,
    old_root: &Digest,
    size: u64,
    new_root: &Digest,
    path: &[Digest],
) -> Result<(), ProofError> {
    if old_size > size {
        return Err(ProofError::Outside { what: "old tree", at: old_size, size });
    }
    if old_size == size || old_size == 0 {
        if !path.is_empty() {
            return Err(ProofError::Length);
        }
        let empty = Digest::of(b"");
        return reach(if old_size == 0 { &empty } else { new_root }, *old_root);
    }
    let mut path = path.iter();
    let (mut node, mut last) = (old_size - 1, size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    // An old tree that is one complete subtree starts the path itself.
    let start = if node == 0 { *old_root } else { *path.next().ok_or(ProofError::Length)? };
    let (mut old_hash, mut new_hash) = (start, start);
    for sibling in path {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    reach(old_root, old_hash)?;
    reach(new_root, new_hash)
}
