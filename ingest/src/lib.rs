//! The service that accepts signed submissions over HTTP and chains them into Postgres.
//!
//! Here: [`accept`] (pure: a body becomes a submission or a refusal), [`chain`] (the queue, the
//! pure plan, the one ordered effect), [`store`] (Postgres), [`http`] (the edge), [`queue`] (a broker between the two, where there is one), [`service`]
//! (all of it, started and stopped), [`metrics`] and [`telemetry`] (what operators see), [`config`],
//! [`keyfile`] and [`cli`] (the commands of `tally-ingest`, those of a client included).
//!
//! Not here: what is hashed and signed, and who may sign (see the `ledger` crate); sealing (see
//! `archiver`). This service holds no seal key and no access to the archive, so whoever breaks it
//! forges no seal.

pub mod accept;
pub mod access;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod config;
pub mod http;
pub mod keyfile;
pub mod metrics;
pub mod queue;
pub mod sealed;
pub mod service;
pub mod store;
pub mod telemetry;

pub use clock::{Clock, SystemClock};
pub use config::Config;
pub use service::{Running, Service, StartError};
