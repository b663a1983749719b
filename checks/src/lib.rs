//! Whole-system tests, faults, boundaries, vectors and the demo; never shipped.
//!
//! Here: what those tests share. Real parts: [`postgres`], [`service`], [`rig`] (all of a ledger).
//! Making load: [`events`], [`variation`], [`submission`], [`worker`], [`driver`]. Judging:
//! [`history`], [`oracle`], [`figures`]. Harm: [`forge`]. And the [`demo`] with its [`play`].
//!
//! Not here: anything that a user runs, but the demo.

pub mod bin_path;
pub mod demo;
pub mod driver;
pub mod events;
pub mod figures;
pub mod forge;
pub mod history;
pub mod oracle;
pub mod play;
pub mod postgres;
pub mod rig;
pub mod service;
pub mod submission;
pub mod variation;
pub mod worker;
