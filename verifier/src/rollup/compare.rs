//! What differs between two objects of one rollup: two revisions of a day, or what was logged and what comes of it now.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

use super::RollupError;
use crate::rows::{Flat, flat};

/// Rows of an object that are told one by one.
const TOLD_MAX: usize = 100;

/// Characters of a text that are shown.
const SHOWN_MAX: usize = 400;

/// How a null is shown.
const NULL: &str = "null";

/// What an object of this program's own may come to.
const ANY: (u64, u64) = (u64::MAX, u64::MAX);
/// By how much what is stated may be larger than what was computed, and still be told row by row.
const TIMES: u64 = 4;
/// The rows and the bytes of text that it may come to in any case.
const ROWS_ANYWAY: u64 = 4_096;
const TEXT_ANYWAY: u64 = 16 << 20;

/// A row that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The values of its key, as `column=value`.
    pub row: String,
    /// The columns that differ, with both values; empty for a row that only one of the objects has.
    pub columns: Vec<(String, String, String)>,
    /// Whether the row is in the first object, and in the second.
    pub is_in: (bool, bool),
}

/// How two objects differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Rows that only the second has.
    pub added: u64,
    /// Rows that only the first has.
    pub removed: u64,
    /// Rows with other values.
    pub changed: u64,
    /// The first hundred of them.
    pub rows: Vec<Difference>,
}

impl Differences {
    /// Whether both have the same rows.
    pub fn is_empty(&self) -> bool {
        (self.added, self.removed, self.changed) == (0, 0, 0)
    }

    fn push(&mut self, difference: Difference) {
        let count = match difference.is_in {
            (true, true) => &mut self.changed,
            (true, false) => &mut self.removed,
            (false, _) => &mut self.added,
        };
        *count = count.saturating_add(1);
        if self.rows.len() < TOLD_MAX {
            self.rows.push(difference);
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_in {
            (true, false) => write!(f, "- {}", self.row),
            (false, _) => write!(f, "+ {}", self.row),
            (true, true) => {
                write!(f, "  {}:", self.row)?;
                let mut columns = self.columns.iter();
                columns.try_for_each(|(name, old, new)| write!(f, " {name} {old} -> {new}"))
            }
        }
    }
}

/// Columns with their values as text.
type Values = Vec<(String, Option<String>)>;

/// What an object holds.
struct Rows {
    schema: SchemaRef,
    /// What the file says of itself: of which rollup, day and inputs it is, and how many events are withheld.
    pairs: Vec<(String, Option<String>)>,
    /// The values of each row, by those of its key.
    rows: BTreeMap<Values, Values>,
    /// Bytes of all values as text.
    text: u64,
}

impl Rows {
    /// What the file says of itself, as text.
    fn said(&self) -> String {
        let pairs = self.pairs.iter().map(|(name, value)| format!("{name} {value:?}"));
        pairs.collect::<Vec<_>>().join(", ")
    }
}

/// The rows of an object: so many and so many bytes of text at most, and of this schema where one is expected.
fn rows(
    object: &Bytes,
    key: &[String],
    (rows_max, text_max): (u64, u64),
    expected: Option<&Rows>,
) -> Result<Rows, RollupError> {
    let refused = |error: &dyn ToString| RollupError::Object(cut(error.to_string()));
    let Flat { rows, schema, pairs } = flat(object, rows_max).map_err(|error| refused(&error))?;
    if let Some(expected) = expected {
        let (found, expected) = (columns(&schema), columns(&expected.schema));
        if found != expected {
            return Err(refused(&format!("it has the columns {found}; expected: {expected}")));
        }
    }
    let mut found = Rows { schema, pairs, rows: BTreeMap::new(), text: 0 };
    for batch in rows {
        let batch = batch.map_err(|error| refused(&error))?;
        let options = FormatOptions::new();
        let columns =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| refused(&error))?;
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let mut values = Values::with_capacity(columns.len());
            let arrays = batch.columns().iter().zip(&columns);
            for (field, (array, column)) in schema.fields().iter().zip(arrays) {
                let value = (!array.is_null(row)).then(|| column.value(row).to_string());
                let bytes =
                    value.as_ref().map_or(0, String::len).saturating_add(field.name().len());
                found.text = found.text.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
                if found.text > text_max {
                    let what = format!("its rows come to more than {text_max} bytes of text");
                    return Err(refused(&what));
                }
                values.push((field.name().clone(), value));
            }
            let of_key = values.iter().filter(|(name, _)| key.contains(name)).cloned().collect();
            if let Some(twice) = found.rows.insert(of_key, values) {
                return Err(refused(&format!("it has two rows {}", named(&twice, key))));
            }
        }
    }
    Ok(found)
}

/// Columns with their types.
fn columns(schema: &SchemaRef) -> String {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| format!("{} {}", field.name(), field.data_type()));
    fields.collect::<Vec<_>>().join(", ")
}

/// What is shown of a text, which may be anybody's.
fn cut(text: String) -> String {
    if text.chars().nth(SHOWN_MAX).is_none() {
        text
    } else {
        text.chars().take(SHOWN_MAX).collect()
    }
}

/// A value as it is shown.
fn shown(value: Option<String>) -> String {
    value.map_or_else(|| NULL.to_owned(), cut)
}

/// How a row is called: by its key.
fn named(values: &Values, key: &[String]) -> String {
    let parts = values.iter().filter(|(name, _)| key.contains(name));
    let parts = parts.map(|(name, value)| format!("{name}={}", shown(value.clone())));
    parts.collect::<Vec<_>>().join(" ")
}

/// Compares two objects of one rollup by the columns that no two of its rows have alike. Both must be this program's
/// own, checked against digests.
pub fn compare(first: &Bytes, second: &Bytes, key: &[String]) -> Result<Differences, RollupError> {
    let second = rows(second, key, ANY, None)?;
    let first = rows(first, key, ANY, Some(&second))?;
    Ok(differences(first, second, key))
}

/// The same for what somebody states, once checked against digests, and what was computed. It takes the memory that
/// follows from what was computed: what is stated in a small file may be without end.
pub fn compare_stated(
    stated: &Bytes,
    computed: &Bytes,
    key: &[String],
) -> Result<Differences, RollupError> {
    let computed = rows(computed, key, ANY, None)?;
    let count = u64::try_from(computed.rows.len()).unwrap_or(u64::MAX);
    let most = |count: u64, anyway: u64| count.saturating_mul(TIMES).max(anyway);
    let limits = (most(count, ROWS_ANYWAY), most(computed.text, TEXT_ANYWAY));
    let stated = rows(stated, key, limits, Some(&computed))?;
    let (found, expected) = (stated.said(), computed.said());
    let differences = differences(stated, computed, key);
    if differences.is_empty() && found != expected {
        let what = format!("it says of itself: {found}; expected: {expected}");
        return Err(RollupError::Object(cut(what)));
    }
    Ok(differences)
}

fn differences(first: Rows, second: Rows, key: &[String]) -> Differences {
    let mut differences = Differences::default();
    let mut second = second.rows;
    for (of_key, old) in first.rows {
        let row = named(&of_key, key);
        let Some(new) = second.remove(&of_key) else {
            differences.push(Difference { row, columns: Vec::new(), is_in: (true, false) });
            continue;
        };
        let columns = old.into_iter().zip(new).filter(|((_, old), (_, new))| old != new);
        let columns = columns.map(|((name, old), (_, new))| (name, shown(old), shown(new)));
        let columns: Vec<_> = columns.collect();
        if !columns.is_empty() {
            differences.push(Difference { row, columns, is_in: (true, true) });
        }
    }
    for of_key in second.into_keys() {
        let row = named(&of_key, key);
        differences.push(Difference { row, columns: Vec::new(), is_in: (false, true) });
    }
    differences
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test may panic"
    )]

    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::KeyValue;

    use super::*;

    fn written(batch: &RecordBatch) -> Bytes {
        let properties = crate::rows::encoded().unwrap().build();
        let writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties));
        let mut writer = writer.unwrap();
        writer.write(batch).unwrap();
        Bytes::from(writer.into_inner().unwrap())
    }

    /// An object with a text and a number in each row.
    fn object(rows: &[(&str, i64)]) -> Bytes {
        let schema = Arc::new(Schema::new(vec![
            Field::new("model", DataType::Utf8, true),
            Field::new("calls", DataType::Int64, true),
        ]));
        let models: StringArray = rows.iter().map(|(model, _)| Some(*model)).collect();
        let calls: Int64Array = rows.iter().map(|(_, calls)| Some(*calls)).collect();
        let batch = RecordBatch::try_new(schema, vec![Arc::new(models), Arc::new(calls)]);
        written(&batch.unwrap())
    }

    fn told(stated: &[(&str, i64)], computed: &[(&str, i64)]) -> Result<Differences, String> {
        let key = ["model".to_owned()];
        let (stated, computed) = (object(stated), object(computed));
        compare_stated(&stated, &computed, &key).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_told_by_their_key() {
        let found = told(&[("a", 1), ("b", 2), ("c", 3)], &[("a", 1), ("b", 5), ("d", 4)]).unwrap();
        assert_eq!((found.added, found.removed, found.changed), (1, 1, 1));
        let rows: Vec<_> = found.rows.iter().map(ToString::to_string).collect();
        assert_eq!(rows, ["  model=b: calls 2 -> 5", "- model=c", "+ model=d"]);
        assert!(told(&[("a", 1)], &[("a", 1)]).unwrap().is_empty());
    }

    /// What the holder of the seal key states takes no more memory than what it should be.
    #[test]
    fn what_is_stated_is_held_to_what_was_computed() {
        let names: Vec<String> = (0..5_000).map(|n| format!("m{n}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        let error = told(&many, &[("a", 1)]).unwrap_err();
        assert!(error.contains("the number of rows"), "{error}");
        let by_quarters: Vec<_> = many.iter().step_by(4).copied().collect();
        assert_eq!(told(&many, &by_quarters).unwrap().removed, 3_750);
        // A word that a dictionary holds once, in each row.
        let word = "x".repeat(8 << 10);
        let long: Vec<_> = (0..4_000).map(|calls| (word.as_str(), calls)).collect();
        let (long, key) = (object(&long), ["calls".to_owned()]);
        let error = compare_stated(&long, &object(&[("a", 1)]), &key).unwrap_err().to_string();
        assert!(error.contains("bytes of text"), "{error}");
        // One letter, many times over, compresses to nothing.
        let bomb = "0".repeat(9 << 20);
        let error = told(&[(bomb.as_str(), 1)], &[("a", 1)]).unwrap_err();
        assert!(error.contains("a page once decompressed"), "{error}");
    }

    /// What a map of rows would hide.
    #[test]
    fn a_row_twice_and_another_column_are_told() {
        let error = told(&[("a", 1), ("a", 1)], &[("a", 1)]).unwrap_err();
        assert!(error.contains("it has two rows model=a"), "{error}");
        let schema = Arc::new(Schema::new(vec![Field::new("model", DataType::Utf8, true)]));
        let models = Arc::new(StringArray::from(vec![Some("a")]));
        let fewer = written(&RecordBatch::try_new(schema, vec![models]).unwrap());
        let key = ["model".to_owned()];
        let error = compare_stated(&fewer, &object(&[("a", 1)]), &key).unwrap_err().to_string();
        assert!(error.contains("it has the columns model "), "{error}");
    }

    /// The same rows by another engine's name are not enough: how many events are withheld stands beside them.
    #[test]
    fn what_a_file_says_of_itself_is_compared() {
        let of = |withheld: &str| {
            let pair = KeyValue::new("tallystick.withheld".to_owned(), withheld.to_owned());
            let properties = crate::rows::encoded().unwrap();
            let properties = properties.set_key_value_metadata(Some(vec![pair])).build();
            let schema = Arc::new(Schema::new(vec![Field::new("model", DataType::Utf8, true)]));
            let models = Arc::new(StringArray::from(vec![Some("a")]));
            let batch = RecordBatch::try_new(Arc::clone(&schema), vec![models]).unwrap();
            let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            Bytes::from(writer.into_inner().unwrap())
        };
        let key = ["model".to_owned()];
        assert!(compare_stated(&of("7"), &of("7"), &key).unwrap().is_empty());
        let error = compare_stated(&of("0"), &of("7"), &key).unwrap_err().to_string();
        assert!(error.contains("it says of itself: tallystick.withheld Some(\"0\")"), "{error}");
    }

    /// Rows that a footer leaves out would be compared with nothing.
    #[test]
    fn a_footer_that_counts_other_rows_is_refused() {
        let (honest, key) = (object(&[("a", 1), ("b", 2)]), ["model".to_owned()]);
        // Thrift: the third field, two rows, and that the list of row groups follows.
        let counts = [0x16, 0x04, 0x19];
        let found: Vec<usize> =
            (0..honest.len()).filter(|at| honest[*at..].starts_with(&counts)).collect();
        let [at] = found[..] else { panic!("{found:?}") };
        for (rows, zigzag) in [(0, 0), (1, 2), (3, 6), (-1, 1)] {
            let mut other = honest.to_vec();
            other[at + 1] = zigzag;
            let error = compare_stated(&Bytes::from(other), &honest, &key).unwrap_err();
            assert!(error.to_string().contains("rows"), "{rows}: {error}");
        }
    }

    /// Nothing and the word for it are two keys.
    #[test]
    fn a_null_is_no_text() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("model", DataType::Utf8, true),
            Field::new("calls", DataType::Int64, true),
        ]));
        let models = Arc::new(StringArray::from(vec![Some("null"), None]));
        let calls = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_new(schema, vec![models, calls]).unwrap();
        let both = written(&batch);
        let key = ["model".to_owned()];
        assert!(compare_stated(&both, &both, &key).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_object_of_a_rollup_is_refused() {
        let honest = object(&[("a", 1)]);
        for broken in [&b""[..], b"PAR1", b"PAR1PAR1PAR1"] {
            let broken = Bytes::copy_from_slice(broken);
            assert!(compare_stated(&broken, &honest, &[]).is_err());
        }
        // Whatever byte of it changes, there is an answer.
        for at in 0..honest.len() {
            let mut other = honest.to_vec();
            other.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x11);
            let _answered = compare_stated(&Bytes::from(other), &honest, &[]);
        }
    }
}
