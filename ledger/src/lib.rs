//! The pure core of Tallystick: what is hashed, what is signed, and every check over it.
//!
//! Here, in the order that data meets it: [`names`], [`time`], [`key`], [`payload`],
//! [`submission`], [`entry`], [`merkle`], [`note`], [`receipt`], [`chunk`], [`hour`],
//! [`checkpoint`], [`succession`] and [`mod@line`] (the seal keys), [`prune`], [`layout`], [`rollup`], [`chain`] (the key
//! state of a workspace), [`counters`], [`verify`] (the state machine that checks an archive) and [`proof`] (one event,
//! proven by one small file).
//!
//! Not here: files, sockets, clocks, randomness, threads. The caller brings bytes and times; so
//! the same code serves the service that accepts, the archiver that seals, the auditor who
//! verifies, and a browser.

pub mod chain;
pub mod checkpoint;
pub mod chunk;
pub mod columns;
pub mod counters;
pub mod entry;
pub mod hash;
pub mod hour;
pub mod key;
pub mod layout;
pub mod limits;
pub mod line;
pub mod merkle;
pub mod names;
pub mod note;
pub mod payload;
pub mod proof;
pub mod prune;
pub mod receipt;
pub mod rollup;
pub mod submission;
pub mod succession;
pub mod time;
pub mod verify;
