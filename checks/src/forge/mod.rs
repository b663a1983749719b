//! Archives in memory: read, made up, changed, and sealed again by someone who holds a seal key.
//!
//! Here: [`Archive`] (the objects), [`Content`] (what they say, to be edited), [`alter`] (another
//! value in one column) and [`honest`] (made-up archives that are intact). Not here: what must be
//! found after a change (see `tests/tamper.rs`).
//!
//! The forger is as strong as an operator gone bad: he has every byte, the code and a seal key. He
//! has no agent's key.

mod alter;
mod archive;
mod content;
mod golden;
mod honest;
mod random;

pub use alter::{COLUMNS, alter, erase};
pub use archive::Archive;
pub use content::{Chunk, Content, Depth, Leaf, OwnedRow};
pub use golden::{golden, golden_path};
pub use honest::{Honest, honest};
pub use random::Random;
