//! Who may do what: tokens, the record of acts, the roles of Postgres (FAULTS 38 and 39).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod acts;
mod alike;
mod commands;
mod logins;
mod roles;
mod tls;
mod tokens;
mod world;
