//! Every limit of the format, in one place, each related to the next.
//!
//! Here: numbers and why they hold. Not here: settings that an operator may lower (see `ingest`).

/// Largest payload that any ledger may accept, in bytes (FORMAT section 2).
pub const PAYLOAD_BYTES_CEILING: usize = 1 << 20;

/// Largest payload accepted unless the operator says otherwise, in bytes (FORMAT section 2).
pub const PAYLOAD_BYTES_DEFAULT: usize = 65_536;

/// Deepest nesting of objects and arrays in a payload; the payload itself is level 1
/// (FORMAT section 2).
pub const PAYLOAD_DEPTH: usize = 32;

/// Longest optional text member of a payload, in bytes of UTF-8 once unescaped (FORMAT section 2).
pub const TEXT_BYTES: usize = 1_024;

/// Longest `event_type`, in bytes (FORMAT section 2).
pub const EVENT_TYPE_BYTES: usize = 64;

/// Most events that any ledger may accept in one submission (FORMAT section 3).
pub const SUBMISSION_EVENTS_CEILING: usize = 1_000;

/// Most events in one submission unless the operator says otherwise (FORMAT section 3).
pub const SUBMISSION_EVENTS_DEFAULT: usize = 100;

/// Longest origin, in bytes (FORMAT section 1).
pub const ORIGIN_BYTES: usize = 128;

/// Longest workspace name, in bytes (FORMAT section 1).
pub const WORKSPACE_BYTES: usize = 63;

/// Longest name of a rollup, in bytes: no longer than Postgres keeps names of tables.
pub const ROLLUP_BYTES: usize = 48;

/// Most root keys that a workspace may be created with (FORMAT section 6).
pub const ROOT_KEYS: usize = 8;

/// How far the clock may stand behind the head before acceptance stops, in microseconds
/// (FORMAT section 4).
pub const CLOCK_HOLD_MICROS: i64 = 1_000_000;

/// Longest signed note that is read, in bytes. A note of this format is under 2 KiB with one
/// signature; the rest is room for witnesses.
pub const NOTE_BYTES: usize = 65_535;

/// Most signature lines that are read from one note.
pub const NOTE_SIGNATURES: usize = 128;

/// Leaves in a full tile and in a full entry bundle (C2SP tlog-tiles).
pub const TILE_WIDTH: u64 = 256;

/// Largest entry in an entry bundle: its length is written as a `u16` (C2SP tlog-tiles).
pub const BUNDLE_ENTRY_BYTES: usize = 65_535;

/// Days that records are kept at least, unless an auditor or a policy says otherwise. Six months are asked
/// for in many places (article 19 of the EU AI Act, for one); the longest are those from March to August.
pub const MIN_KEPT_DAYS: u64 = 184;

const _: () = assert!(PAYLOAD_BYTES_DEFAULT <= PAYLOAD_BYTES_CEILING);
const _: () = assert!(SUBMISSION_EVENTS_DEFAULT <= SUBMISSION_EVENTS_CEILING);
// index_in_submission and submission_count are u16 in an entry.
const _: () = assert!(SUBMISSION_EVENTS_CEILING <= 65_535);
// A signed note is one leaf of the log, and so one entry of a bundle.
const _: () = assert!(NOTE_BYTES <= BUNDLE_ENTRY_BYTES);
