//! What operators and programs see of the ingest service: problems, pages, health, figures, logs and
//! traces. The program that is shipped, on a real Postgres.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod canaries;
mod collector;
mod logs;
mod metrics;
mod pages;
mod problems;
mod ready;
mod traces;
mod world;
