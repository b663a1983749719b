//! Who may ask what, and the record of who did.
//!
//! Here: [`token`] (what a bearer token looks like, and how it is kept), [`admin`] (the tokens of
//! administrators, from the settings), [`acts`] (every read and administrative act becomes an event
//! of the ledger's own workspace), [`known`] (which keys a workspace has had at all),
//! [`porter`] (whose token a request shows), [`settings`]. Not here: whether a key may sign (see
//! [`ledger::chain`]); how a request shows its token (`http/auth.rs`); the rows (see
//! [`crate::store::access`]).

pub mod acts;
pub mod admin;
pub mod known;
pub mod porter;
pub mod settings;
pub mod token;

pub use acts::{Act, ActError, Recorder};
pub use admin::AdminTokens;
pub use known::KnownKeys;
pub use porter::Porter;
pub use settings::AccessSettings;
