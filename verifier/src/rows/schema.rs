//! The columns of a chunk's object: names, order, types, nulls (FORMAT section 9).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use ledger::names::{Origin, Workspace};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{LogicalType, TimeUnit as ParquetTimeUnit, Type as Physical};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::RowsError;

/// Digits of a money column, and how many of them stand after the point.
const MONEY: (u8, i8) = (18, 9);

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U64,
    U16,
    I64,
    Bool,
    /// Microseconds since 1970, UTC.
    Time,
    Fixed(i32),
    Binary,
    Text,
    Money,
}

/// One column of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

const fn always(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false }
}

const fn maybe(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: true }
}

/// The columns, in the order of the file.
pub(super) const COLUMNS: [Column; 34] = [
    always("seq", Kind::U64),
    always("recorded_at", Kind::Time),
    always("event_id", Kind::Fixed(16)),
    maybe("payload", Kind::Binary),
    always("payload_digest", Kind::Fixed(32)),
    always("link", Kind::Fixed(32)),
    always("submission_hash", Kind::Fixed(32)),
    always("submission_index", Kind::U16),
    always("submission_count", Kind::U16),
    always("counter", Kind::U64),
    always("public_key", Kind::Fixed(32)),
    always("signature", Kind::Fixed(64)),
    always("event_type", Kind::Text),
    always("occurred_at", Kind::Time),
    maybe("session_id", Kind::Text),
    maybe("actor_id", Kind::Text),
    maybe("source", Kind::Text),
    maybe("model", Kind::Text),
    maybe("provider", Kind::Text),
    maybe("input_tokens", Kind::I64),
    maybe("output_tokens", Kind::I64),
    maybe("latency_ms", Kind::I64),
    maybe("success", Kind::Bool),
    maybe("error_type", Kind::Text),
    maybe("prompt_hash", Kind::Text),
    maybe("tool_name", Kind::Text),
    maybe("status", Kind::Text),
    maybe("unit_cost_input", Kind::Money),
    maybe("unit_cost_output", Kind::Money),
    maybe("trace_id", Kind::Text),
    maybe("span_id", Kind::Text),
    maybe("agent_version", Kind::Text),
    maybe("on_behalf_of", Kind::Text),
    maybe("parent_event_id", Kind::Fixed(16)),
];

impl Kind {
    /// The Arrow type that this code writes from and reads into. Text and payloads are views: a
    /// row then borrows from the decoded page, and one dictionary entry that a hostile file
    /// repeats a million times is held once.
    pub(super) fn arrow(self) -> DataType {
        match self {
            Self::U64 => DataType::UInt64,
            Self::U16 => DataType::UInt16,
            Self::I64 => DataType::Int64,
            Self::Bool => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Fixed(width) => DataType::FixedSizeBinary(width),
            Self::Binary => DataType::BinaryView,
            Self::Text => DataType::Utf8View,
            Self::Money => DataType::Decimal64(MONEY.0, MONEY.1),
        }
    }

    /// The Arrow type that other programs are given, and that each of them knows: it stands alone, without the
    /// page that a view points into.
    fn plain(self) -> DataType {
        match self {
            Self::Binary => DataType::Binary,
            Self::Text => DataType::Utf8,
            Self::Money => DataType::Decimal128(MONEY.0, MONEY.1),
            other => other.arrow(),
        }
    }

    /// Whether a Parquet column is of this kind.
    fn matches(self, column: &ColumnDescriptor) -> bool {
        let (physical, logical) = (column.physical_type(), column.logical_type_ref());
        let integer = |width: i8| {
            matches!(logical, Some(LogicalType::Integer(int))
                if int.bit_width == width && !int.is_signed)
        };
        match self {
            Self::U64 => physical == Physical::INT64 && integer(64),
            Self::U16 => physical == Physical::INT32 && integer(16),
            Self::I64 => {
                // An annotation of the plain integer that the physical type is changes nothing.
                let plain = matches!(logical, Some(LogicalType::Integer(int))
                    if int.bit_width == 64 && int.is_signed);
                physical == Physical::INT64 && (logical.is_none() || plain)
            }
            Self::Bool => physical == Physical::BOOLEAN && logical.is_none(),
            Self::Time => {
                physical == Physical::INT64
                    && matches!(logical, Some(LogicalType::Timestamp(time))
                        if time.is_adjusted_to_u_t_c && time.unit == ParquetTimeUnit::MICROS)
            }
            Self::Fixed(width) => {
                physical == Physical::FIXED_LEN_BYTE_ARRAY
                    && column.type_length() == width
                    && logical.is_none()
            }
            Self::Binary => physical == Physical::BYTE_ARRAY && logical.is_none(),
            Self::Text => physical == Physical::BYTE_ARRAY && logical == Some(&LogicalType::String),
            // 18 digits fit eight bytes: some writers take an integer, some a fixed array.
            Self::Money => {
                let eight = physical == Physical::INT64
                    || (physical == Physical::FIXED_LEN_BYTE_ARRAY && column.type_length() == 8);
                eight
                    && matches!(logical, Some(LogicalType::Decimal(money))
                        if (money.precision, money.scale)
                            == (i32::from(MONEY.0), i32::from(MONEY.1)))
            }
        }
    }
}

/// The Arrow schema that this code writes from.
pub(super) fn arrow_schema() -> SchemaRef {
    let field = |column: &Column| Field::new(column.name, column.kind.arrow(), column.nullable);
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
}

/// The columns as other programs are given them, in the order of the file.
pub(crate) fn plain_fields() -> impl Iterator<Item = Field> {
    COLUMNS.iter().map(|column| Field::new(column.name, column.kind.plain(), column.nullable))
}

/// The Arrow schema that a file, once checked, is read into.
pub(super) fn arrow_schema_of(file: &SchemaDescriptor) -> SchemaRef {
    let field = |(column, found): (&Column, &Arc<ColumnDescriptor>)| {
        Field::new(column.name, column.kind.arrow(), found.max_def_level() > 0)
    };
    Arc::new(Schema::new(COLUMNS.iter().zip(file.columns()).map(field).collect::<Vec<_>>()))
}

/// Most columns of a file that is no chunk.
const FLAT_COLUMNS_MAX: usize = 64;
/// How such a column is called where something is wrong with it: its name is anybody's.
const FLAT: &str = "of a rollup";

/// The columns of a file that is no chunk, and the Arrow schema that it is read into: flat ones, of the types that a
/// rollup has.
pub(super) fn flat(file: &SchemaDescriptor) -> Result<(Vec<Column>, SchemaRef), RowsError> {
    let refused = |index, found: String| RowsError::Column {
        index,
        expected: "a column as rollups have them".to_owned(),
        found,
    };
    let read =
        parquet_to_arrow_schema(file, None).map_err(|error| refused(0, error.to_string()))?;
    let mut fields = Vec::new();
    for (index, field) in read.fields().iter().enumerate() {
        let kind = match field.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            kind @ (DataType::Date32
            | DataType::Boolean
            | DataType::Int64
            | DataType::Float64
            | DataType::Decimal128(..)) => kind.clone(),
            other => return Err(refused(index, other.to_string().chars().take(64).collect())),
        };
        if index >= FLAT_COLUMNS_MAX {
            return Err(refused(index, format!("{} columns", read.fields().len())));
        }
        fields.push(Field::new(field.name(), kind, field.is_nullable()));
    }
    let columns = fields.iter().map(|_| maybe(FLAT, Kind::Text)).collect();
    Ok((columns, Arc::new(Schema::new(fields))))
}

/// The file's metadata: which format, ledger and workspace it is of.
pub(super) fn key_values<'a>(
    origin: &'a Origin,
    workspace: &'a Workspace,
) -> [(&'static str, &'a str); 3] {
    [
        ("tallystick.format", "1"),
        ("tallystick.origin", origin.as_str()),
        ("tallystick.workspace", workspace.as_str()),
    ]
}

/// Checks a file's columns: names, order, types, none missing and none more.
///
/// Whether a column may be null by its declaration is left to the writer: some declare every
/// column so. That no null stands where the format has none is checked on the values.
pub(super) fn check(found: &SchemaDescriptor) -> Result<(), RowsError> {
    for index in 0..COLUMNS.len().max(found.num_columns()) {
        let expected = COLUMNS.get(index);
        let found = (index < found.num_columns()).then(|| found.column(index));
        let right = match (expected, &found) {
            (Some(expected), Some(found)) => {
                found.path().parts() == [expected.name]
                    && found.max_rep_level() == 0
                    && found.max_def_level() <= 1
                    && expected.kind.matches(found)
            }
            _ => false,
        };
        if !right {
            return Err(RowsError::Column {
                index,
                expected: expected.map_or_else(
                    || "absent".to_owned(),
                    |column| format!("`{}` of type {:?}", column.name, column.kind),
                ),
                found: found.map_or_else(|| "absent".to_owned(), |column| show(&column)),
            });
        }
    }
    Ok(())
}

fn show(column: &ColumnDescriptor) -> String {
    let name: String = column.path().string().chars().take(64).collect();
    let (physical, logical) = (column.physical_type(), column.logical_type_ref());
    match logical {
        None => format!("`{name}` of type {physical}({})", column.type_length()),
        Some(logical) => format!("`{name}` of type {physical} as {logical:?}"),
    }
}
