//! The columns of an archived entry as plain data (FORMAT section 9).
//!
//! Here: one row, a digest over rows, and the columns that are derived from a payload, made and compared. Not
//! here: Parquet (see the `verifier` crate, which reads and writes these rows in one place).

use std::borrow::Cow;

use crate::chain::ERASED;
use crate::hash::Digest;
use crate::payload::Event;

/// One entry as it stands in a chunk's object: recorded columns, then derived ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// `seq`.
    pub seq: u64,
    /// `recorded_at`, microseconds since 1970.
    pub recorded_at: i64,
    /// `event_id`.
    pub event_id: [u8; 16],
    /// `payload`; `None` where it is withheld (FORMAT section 10).
    pub payload: Option<&'a [u8]>,
    /// `payload_digest`.
    pub payload_digest: [u8; 32],
    /// `link`.
    pub link: [u8; 32],
    /// `submission_hash`.
    pub submission_hash: [u8; 32],
    /// `submission_index`.
    pub submission_index: u16,
    /// `submission_count`.
    pub submission_count: u16,
    /// `counter`.
    pub counter: u64,
    /// `public_key`.
    pub public_key: [u8; 32],
    /// `signature`.
    pub signature: [u8; 64],
    /// Everything that the payload says again.
    pub derived: Derived<'a>,
}

macro_rules! derived {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// The columns that are derived from a payload, in the order of the file.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Derived<'a> {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Derived<'_> {
            /// Their names, in the order of the file.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)*];

            /// The first column in which two rows differ, with both values.
            pub fn difference(&self, found: &Self) -> Option<ColumnDifference> {
                $(if self.$name != found.$name {
                    return Some(ColumnDifference {
                        column: stringify!($name),
                        expected: show(&self.$name),
                        found: show(&found.$name),
                    });
                })*
                None
            }

            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$name.encode(out);)*
            }
        }
    };
}

/// The columns that stand before the derived ones, in the order of the file.
const RECORDED: [&str; 12] = [
    "seq",
    "recorded_at",
    "event_id",
    "payload",
    "payload_digest",
    "link",
    "submission_hash",
    "submission_index",
    "submission_count",
    "counter",
    "public_key",
    "signature",
];

/// The name of a column, where there is one of this name.
pub fn named(text: &str) -> Option<&'static str> {
    RECORDED.iter().chain(Derived::NAMES).copied().find(|name| *name == text)
}

/// A text column: borrowed from the payload where it holds no escape.
pub type Text<'a> = Option<Cow<'a, str>>;

derived! {
    /// `event_type`.
    event_type: Cow<'a, str>,
    /// `occurred_at`, microseconds since 1970.
    occurred_at: i64,
    /// `session_id`.
    session_id: Text<'a>,
    /// `actor_id`.
    actor_id: Text<'a>,
    /// `source`.
    source: Text<'a>,
    /// `model`.
    model: Text<'a>,
    /// `provider`.
    provider: Text<'a>,
    /// `input_tokens`.
    input_tokens: Option<i64>,
    /// `output_tokens`.
    output_tokens: Option<i64>,
    /// `latency_ms`, milliseconds.
    latency_ms: Option<i64>,
    /// `success`.
    success: Option<bool>,
    /// `error_type`.
    error_type: Text<'a>,
    /// `prompt_hash`.
    prompt_hash: Text<'a>,
    /// `tool_name`.
    tool_name: Text<'a>,
    /// `status`.
    status: Text<'a>,
    /// `unit_cost_input`, in 10^-9 of the currency.
    unit_cost_input: Option<i64>,
    /// `unit_cost_output`, in 10^-9 of the currency.
    unit_cost_output: Option<i64>,
    /// `trace_id`.
    trace_id: Text<'a>,
    /// `span_id`.
    span_id: Text<'a>,
    /// `agent_version`.
    agent_version: Text<'a>,
    /// `on_behalf_of`.
    on_behalf_of: Text<'a>,
    /// `parent_event_id`.
    parent_event_id: Option<[u8; 16]>,
}

/// A derived column says something else than the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDifference {
    /// The column.
    pub column: &'static str,
    /// What the payload says.
    pub expected: String,
    /// What the column says.
    pub found: String,
}

/// Values in findings are cut: a hostile archive must not fill the report.
fn show(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

impl<'a> Derived<'a> {
    /// What the columns of this payload must say.
    pub fn of(event: &Event<'a>) -> Self {
        Self {
            event_type: event.event_type.clone(),
            occurred_at: event.occurred_at.get(),
            session_id: event.session_id.clone(),
            actor_id: event.actor_id.clone(),
            source: event.source.clone(),
            model: event.model.clone(),
            provider: event.provider.clone(),
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            latency_ms: event.latency_ms,
            success: event.success,
            error_type: event.error_type.clone(),
            prompt_hash: event.prompt_hash.clone(),
            tool_name: event.tool_name.clone(),
            status: event.status.clone(),
            unit_cost_input: event.unit_cost_input.map(|money| money.get()),
            unit_cost_output: event.unit_cost_output.map(|money| money.get()),
            trace_id: event.trace_id.clone(),
            span_id: event.span_id.clone(),
            agent_version: event.agent_version.clone(),
            on_behalf_of: event.on_behalf_of.clone(),
            parent_event_id: event.parent_event_id.map(|id| *id.as_bytes()),
        }
    }

    /// What the columns must say where the payload is withheld (FORMAT section 10).
    pub fn withheld(recorded_at: i64) -> Self {
        Self {
            event_type: Cow::Borrowed(ERASED),
            occurred_at: recorded_at,
            session_id: None,
            actor_id: None,
            source: None,
            model: None,
            provider: None,
            input_tokens: None,
            output_tokens: None,
            latency_ms: None,
            success: None,
            error_type: None,
            prompt_hash: None,
            tool_name: None,
            status: None,
            unit_cost_input: None,
            unit_cost_output: None,
            trace_id: None,
            span_id: None,
            agent_version: None,
            on_behalf_of: None,
            parent_event_id: None,
        }
    }
}

/// Bytes that are gathered before they are hashed: BLAKE3 is quick on long runs alone.
const ENCODED_BYTES: usize = 64 << 10;

/// A digest over rows, one after the other: every column, and of a payload its recorded digest and whether it
/// is there.
///
/// Only for rows that are compared within one process: what stands for them in the archive are leaves,
/// links and roots (FORMAT sections 4 and 5).
#[derive(Clone, Debug, Default)]
pub struct RowsDigest {
    hasher: blake3::Hasher,
    encoded: Vec<u8>,
}

impl RowsDigest {
    /// No row yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next row.
    pub fn push(&mut self, row: &Row<'_>) {
        let out = &mut self.encoded;
        row.seq.encode(out);
        row.recorded_at.encode(out);
        row.event_id.encode(out);
        row.payload.is_some().encode(out);
        row.payload_digest.encode(out);
        row.link.encode(out);
        row.submission_hash.encode(out);
        row.submission_index.encode(out);
        row.submission_count.encode(out);
        row.counter.encode(out);
        row.public_key.encode(out);
        row.signature.encode(out);
        row.derived.encode(out);
        if out.len() >= ENCODED_BYTES {
            self.hash();
        }
    }

    fn hash(&mut self) {
        self.hasher.update(&self.encoded);
        self.encoded.clear();
    }

    /// The digest of all rows so far.
    pub fn finish(mut self) -> Digest {
        self.hash();
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }
}

/// A value of a column as bytes that no other value, or run of values, comes to.
trait Encode {
    fn encode(&self, out: &mut Vec<u8>);
}

macro_rules! encode_integers {
    ($($integer:ty)*) => {$(
        impl Encode for $integer {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}

encode_integers!(u16 u64 i64);

impl Encode for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<const N: usize> Encode for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl Encode for Cow<'_, str> {
    fn encode(&self, out: &mut Vec<u8>) {
        u64::try_from(self.len()).unwrap_or(u64::MAX).encode(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }
}
