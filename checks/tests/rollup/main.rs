//! Rollups, from recorded events to figures that an auditor computes again (FAULTS rows 50 and 51).
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

#[cfg(feature = "distributed")]
mod cluster;
mod commands;
mod doctored;
mod faults;
mod figures;
mod marts;
mod world;
