//! Whole-system tests, faults, boundaries, vectors and the demo; never shipped.
//!
//! Here: what those tests share. Real parts: [`postgres`], [`service`], [`rig`] (all of a ledger), [`store`] (object stores), [`broker`] (Kafka).
//! Between them: [`proxy`] (a network that breaks), [`crowd`] (clients at work on a rig).
//! Making load: [`events`], [`variation`], [`submission`], [`worker`], [`driver`]. Judging:
//! [`history`], [`oracle`], [`figures`]. Harm: [`forge`], [`corpus`]. Measuring: [`mod@bench`]. And the [`demo`] with its [`play`].
//!
//! Not here: anything that a user runs, but the demo.

pub mod bench;
pub mod bin_path;
pub mod broker;
pub mod corpus;
pub mod crowd;
pub mod demo;
pub mod disk;
pub mod driver;
pub mod events;
pub mod figures;
pub mod forge;
pub mod history;
pub mod killed;
pub mod oracle;
pub mod play;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod rig;
pub mod service;
pub mod store;
pub mod submission;
pub mod token;
pub mod tools;
pub mod variation;
pub mod worker;
