//! The audit of an archive held in memory: an honest one is proven, every lie is found and named
//! at its place, and no order of answers changes the report.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod driver;
mod erasure;
mod forge;
mod honest;
mod lies;
mod log_lies;
mod plan;
mod prune;
mod resume;
mod rollup;
mod rollup_lies;
mod row_lies;
mod seal_lies;
mod store_lies;
mod times;
