//! The proof that a leaf is in the log, as in C2SP tlog-proof (c2sp.org/tlog-proof).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Digest;
use crate::note::plain_number;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest path that any tree has.
pub(super) const PATH_MAX: usize = 64;

/// A leaf's place in the log, the path to the root, and the checkpoint that states the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Place of the leaf, from 0.
    pub index: u64,
    /// The path, from the leaf's sibling up.
    pub path: Vec<Digest>,
    /// The checkpoint: a whole signed note.
    pub checkpoint: String,
}

impl TlogProof {
    /// The text, without extra data.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\nindex {}\n", self.index);
        for hash in &self.path {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", STANDARD.encode(hash.as_bytes()));
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads the text; `None` where it is not of this form. One with extra data is not read: this
    /// format has none.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(HEADER)?.strip_prefix("\nindex ")?;
        let (index, mut rest) = rest.split_once('\n')?;
        let index = plain_number(index)?;
        let mut path = Vec::new();
        loop {
            let (line, tail) = rest.split_once('\n')?;
            rest = tail;
            if line.is_empty() {
                return Some(Self { index, path, checkpoint: rest.to_owned() });
            }
            if path.len() >= PATH_MAX {
                return None;
            }
            path.push(Digest::from_slice(&STANDARD.decode(line).ok()?)?);
        }
    }
}
