//! Where one machine is outgrown: the same SQL on Ballista, over executors that read the archive themselves.
//!
//! The driver plans a rollup and gives it to a scheduler; the scheduler cuts it into tasks, and executors run them. What
//! travels is the plan, with the manifests of the chunks that it reads: an executor fetches each object from the
//! archive, compares it with its manifest's digests and takes its facts, just as [`super::Engine`] has them. Result rows
//! come back in order, and the driver writes the object: it is the same, byte for byte.
//!
//! Whoever can speak to these processes can make figures wrong, so they listen on the loopback, or speak TLS in which
//! each side shows a certificate ([`Link`]). A wrong figure does not stay unseen: an auditor computes it again on one
//! machine, and so does the archiver for the first day of each rollup that a run makes.
//!
//! Here: [`Cluster`], which the archiver drives; [`serve_scheduler`] and [`serve_executor`], the two kinds of nodes. Not
//! here: what is due, and what is done with it.

mod cli;
mod client;
mod codec;
mod link;
mod nodes;
mod scan;

pub use cli::{ClusterArgs, run};
pub use client::{Cluster, ClusterSettings, Input};
pub use link::{Link, LinkError, Tls};
pub use nodes::{ExecutorSettings, NodeError, SchedulerSettings, serve_executor, serve_scheduler};
