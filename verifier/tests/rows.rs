//! Rows come back from Parquet as they went in, and nothing else is taken for a chunk.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use ledger::chunk::ChunkManifest;
use ledger::columns::{Derived, Row};
use ledger::hash::Digest;
use ledger::names::{Origin, Workspace};
use ledger::note::Note;
use ledger::payload::{self, Rules};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use verifier::rows::{ChunkRows, RowsError, read, write};

fn origin() -> Origin {
    Origin::new("ledger.example.com/test").unwrap()
}

fn workspace() -> Workspace {
    Workspace::new("acme").unwrap()
}

/// A row that owns what [`Row`] borrows.
#[derive(Clone, Debug)]
struct Owned {
    row: Row<'static>,
    payload: Option<Vec<u8>>,
}

impl Owned {
    fn row(&self) -> Row<'_> {
        Row { payload: self.payload.as_deref(), ..self.row.clone() }
    }
}

fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
    vec(option::of("\\PC{0,40}"), 13)
}

prop_compose! {
    fn owned()(
        (seq, recorded_at, counter) in any::<(u64, i64, u64)>(),
        (event_id, digests) in any::<([u8; 16], [[u8; 32]; 4])>(),
        (half, index, count) in any::<([u8; 32], u16, u16)>(),
        payload in option::of(vec(any::<u8>(), 0..600)),
        event_type in "[a-z_.]{0,64}",
        (occurred_at, success, parent) in any::<(i64, Option<bool>, Option<[u8; 16]>)>(),
        numbers in any::<[Option<i64>; 3]>(),
        money in [option::of(0..10_i64.pow(18)), option::of(0..10_i64.pow(18))],
        texts in texts(),
    ) -> Owned {
        let mut signature = [7; 64];
        signature[..32].copy_from_slice(&half);
        let mut texts = texts.into_iter().map(|text| text.map(Into::into));
        let mut text = || texts.next().unwrap();
        let row = Row {
            seq,
            recorded_at,
            event_id,
            payload: None,
            payload_digest: digests[0],
            link: digests[1],
            submission_hash: digests[2],
            submission_index: index,
            submission_count: count,
            counter,
            public_key: digests[3],
            signature,
            derived: Derived {
                event_type: event_type.into(),
                occurred_at,
                session_id: text(),
                actor_id: text(),
                source: text(),
                model: text(),
                provider: text(),
                input_tokens: numbers[0],
                output_tokens: numbers[1],
                latency_ms: numbers[2],
                success,
                error_type: text(),
                prompt_hash: text(),
                tool_name: text(),
                status: text(),
                unit_cost_input: money[0],
                unit_cost_output: money[1],
                trace_id: text(),
                span_id: text(),
                agent_version: text(),
                on_behalf_of: text(),
                parent_event_id: parent,
            },
        };
        Owned { row, payload }
    }
}

fn object(rows: &[Owned]) -> Vec<u8> {
    let rows: Vec<_> = rows.iter().map(Owned::row).collect();
    write(&origin(), &workspace(), &rows).unwrap()
}

fn sample(count: u64) -> Vec<Owned> {
    let derived = Derived {
        event_type: "tool_call".into(),
        tool_name: Some("grep".into()),
        input_tokens: Some(12),
        unit_cost_input: Some(2_500_000),
        ..Derived::withheld(1_700_000_000_000_000)
    };
    let row = |seq: u64| Row {
        seq,
        recorded_at: 1_700_000_000_000_000 + seq.cast_signed(),
        event_id: u128::from(seq).to_be_bytes(),
        payload: None,
        payload_digest: [seq as u8; 32],
        // As in any chain, nothing compresses it.
        link: *Digest::of(&seq.to_be_bytes()).as_bytes(),
        submission_hash: [3; 32],
        submission_index: 0,
        submission_count: 1,
        counter: seq,
        public_key: [4; 32],
        signature: [5; 64],
        derived: derived.clone(),
    };
    let owned = |seq| Owned { row: row(seq), payload: Some(format!("{{{seq}}}").into_bytes()) };
    (1..=count).map(owned).collect()
}

/// Every row of an object, checked against `expected` on the way.
fn check(object: Vec<u8>, expected: &[Owned]) -> Result<(), RowsError> {
    let mut expected_rows = expected.iter();
    let rows = expected.len() as u64;
    for batch in ChunkRows::open(object, &origin(), &workspace(), rows)? {
        for row in batch?.rows() {
            assert_eq!(Some(row), expected_rows.next().map(Owned::row));
        }
    }
    assert!(expected_rows.next().is_none());
    Ok(())
}

/// Reads all rows; what they say is of no interest.
fn drain(object: Vec<u8>, rows: u64) -> Result<u64, RowsError> {
    let mut count = 0;
    for batch in ChunkRows::open(object, &origin(), &workspace(), rows)? {
        count += batch?.rows().count() as u64;
    }
    Ok(count)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_come_back_as_they_went_in(rows in vec(owned(), 1..80)) {
        let bytes = object(&rows);
        prop_assert_eq!(&object(&rows), &bytes, "the same rows come to other bytes");
        check(bytes, &rows).unwrap();
    }

    #[test]
    fn a_flipped_byte_never_panics(at in any::<prop::sample::Index>(), mask in 1..=255_u8) {
        let mut bytes = object(&sample(50));
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        // Whether it is noticed here or by the digest that was checked before is not the claim.
        if let Ok(count) = drain(bytes, 50) {
            prop_assert_eq!(count, 50);
        }
    }

    #[test]
    fn bytes_of_no_kind_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let framed = [b"PAR1", bytes.as_slice(), &(bytes.len() as u32).to_le_bytes(), b"PAR1"];
        prop_assert!(drain(framed.concat(), 1).is_err());
        prop_assert!(drain(bytes, 1).is_err());
    }
}

#[test]
fn several_row_groups_and_batches_come_back() {
    let rows = sample(70_000);
    let bytes = object(&rows);
    assert_eq!(bytes, object(&rows));
    check(bytes, &rows).unwrap();
}

#[test]
fn another_number_of_rows_is_refused() {
    let bytes = object(&sample(10));
    for expected in [0, 9, 11] {
        assert_eq!(
            drain(bytes.clone(), expected),
            Err(RowsError::RowCount { expected, found: 10 })
        );
    }
}

#[test]
fn every_cut_is_refused() {
    let bytes = object(&sample(10));
    for length in 0..bytes.len() {
        assert!(drain(bytes[..length].to_vec(), 10).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn every_byte_is_accounted_for() {
    let bytes = object(&sample(10));
    let footer = u32::from_le_bytes(bytes[bytes.len() - 8..][..4].try_into().unwrap()) as usize;
    let body = bytes.len() - 8 - footer;
    let insert = |at: usize| [&bytes[..at], b"hidden", &bytes[at..]].concat();

    assert!(matches!(drain(insert(bytes.len()), 10), Err(RowsError::Container(_))));
    assert_eq!(
        drain(insert(body), 10),
        Err(RowsError::Bytes {
            from: body as u64,
            to: body as u64 + 6,
            what: "named by nothing in its footer"
        })
    );
    // Behind the footer's structure, with a length that includes them.
    let mut longer = insert(bytes.len() - 8);
    let at = longer.len() - 8;
    longer[at..at + 4].copy_from_slice(&(footer as u32 + 6).to_le_bytes());
    assert_eq!(
        drain(longer, 10),
        Err(RowsError::Container("bytes follow the structure in its footer"))
    );
}

// What another writer would make of altered columns.

const PAIRS: [(&str, &str); 3] = [
    ("tallystick.format", "1"),
    ("tallystick.origin", "ledger.example.com/test"),
    ("tallystick.workspace", "acme"),
];

fn columns() -> (Vec<Field>, Vec<ArrayRef>) {
    let bytes = Bytes::from(object(&sample(10)));
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    let batch = batches.next().unwrap().unwrap();
    let fields = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    (fields, batch.columns().to_vec())
}

fn encode(
    (fields, arrays): (Vec<Field>, Vec<ArrayRef>),
    pairs: &[(&str, &str)],
    compression: Compression,
) -> Vec<u8> {
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let pair = |(key, value): &(&str, &str)| KeyValue::new(key.to_string(), value.to_string());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_key_value_metadata(Some(pairs.iter().map(pair).collect()))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn zstd() -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(1).unwrap())
}

fn altered(alter: impl FnOnce(&mut Vec<Field>, &mut Vec<ArrayRef>)) -> Result<u64, RowsError> {
    let (mut fields, mut arrays) = columns();
    alter(&mut fields, &mut arrays);
    drain(encode((fields, arrays), &PAIRS, zstd()), 10)
}

#[test]
fn the_file_of_another_writer_is_read() {
    // With an ARROW:schema entry, a dictionary on every column, and other page sizes.
    assert_eq!(altered(|_, _| {}), Ok(10));
}

#[test]
fn a_column_that_may_be_null_but_is_not_is_read() {
    let alter = |fields: &mut Vec<Field>, _: &mut Vec<ArrayRef>| {
        for field in fields {
            field.set_nullable(true);
        }
    };
    assert_eq!(altered(alter), Ok(10));
}

#[test]
fn a_null_where_there_is_none_is_named() {
    for (index, column) in [(0, "seq"), (5, "link"), (12, "event_type")] {
        let refused = altered(|fields, arrays| {
            fields[index].set_nullable(true);
            let empty = new_null_array(fields[index].data_type(), 1);
            let rest = arrays[index].slice(0, 3);
            let end = arrays[index].slice(4, 6);
            arrays[index] =
                arrow::compute::concat(&[rest.as_ref(), empty.as_ref(), end.as_ref()]).unwrap();
        });
        let error = refused.unwrap_err();
        assert_eq!(error, RowsError::Null { column, row: 3 });
        assert_eq!((error.column(), error.row()), (Some(column), Some(3)));
    }
}

#[test]
fn a_missing_doubled_swapped_or_renamed_column_is_named() {
    let at = |refused: Result<u64, RowsError>| match refused {
        Err(RowsError::Column { index, .. }) => index,
        other => panic!("{other:?}"),
    };
    let missing = altered(|fields, arrays| {
        fields.remove(7);
        arrays.remove(7);
    });
    assert_eq!(at(missing), 7);
    let last_missing = altered(|fields, arrays| {
        fields.pop();
        arrays.pop();
    });
    assert_eq!(at(last_missing), 33);
    let one_more = altered(|fields, arrays| {
        fields.push(Field::new("note", DataType::Int64, true));
        arrays.push(new_null_array(&DataType::Int64, 10));
    });
    assert_eq!(at(one_more), 34);
    let swapped = altered(|fields, arrays| {
        fields.swap(4, 5);
        arrays.swap(4, 5);
    });
    assert_eq!(at(swapped), 4);
    assert_eq!(at(altered(|fields, _| fields[12] = fields[12].clone().with_name("kind"))), 12);
}

#[test]
fn a_column_of_another_type_is_named() {
    let others = [
        (0, DataType::Int64),
        (1, DataType::Int64),
        (2, DataType::Binary),
        (7, DataType::UInt32),
        (12, DataType::Binary),
        (19, DataType::Int32),
        (27, DataType::Decimal128(18, 6)),
        (27, DataType::Decimal128(38, 9)),
    ];
    for (index, other) in others {
        let refused = altered(|fields, arrays| {
            fields[index] = fields[index].clone().with_data_type(other.clone());
            arrays[index] = cast(&arrays[index], &other).unwrap();
        });
        match refused {
            Err(RowsError::Column { index: found, .. }) => assert_eq!(found, index),
            refused => panic!("column {index} as {other}: {refused:?}"),
        }
    }
}

#[test]
fn other_metadata_is_named() {
    let refused = |pairs: &[(&str, &str)]| match drain(encode(columns(), pairs, zstd()), 10) {
        Err(RowsError::Metadata { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    for index in 0..3 {
        let mut pairs = PAIRS.to_vec();
        pairs[index].1 = "2";
        assert_eq!(refused(&pairs), PAIRS[index].0);
        pairs.remove(index);
        assert_eq!(refused(&pairs), PAIRS[index].0);
        let mut twice = PAIRS.to_vec();
        twice.push(PAIRS[index]);
        assert_eq!(refused(&twice), PAIRS[index].0);
    }
    let mut more = PAIRS.to_vec();
    more.push(("comment", "psst"));
    assert_eq!(refused(&more), "comment");
}

#[test]
fn another_codec_is_refused() {
    assert_eq!(
        drain(encode(columns(), &PAIRS, Compression::UNCOMPRESSED), 10),
        Err(RowsError::Pages { column: "seq", reason: "it is not compressed with zstd" })
    );
}

fn files(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
}

#[test]
fn the_golden_archive_is_read_and_says_what_its_payloads_say() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec/vectors/golden/archive");
    let mut notes = Vec::new();
    files(&archive.join("manifests"), "note", &mut notes);
    let mut rows = 0;
    for note in notes {
        let note = std::fs::read(note).unwrap();
        let manifest = ChunkManifest::parse(Note::parse(&note).unwrap().body()).unwrap();
        let object = Bytes::from(std::fs::read(archive.join(&manifest.object)).unwrap());
        let mut seq = manifest.first_seq.get();
        read(&manifest, &object, |row| {
            let payload = row.payload.unwrap();
            let event = payload::scan(payload, &manifest.workspace, &Rules::ceiling()).unwrap();
            assert_eq!(Derived::of(&event).difference(&row.derived), None);
            assert_eq!(*event.event_id.as_bytes(), row.event_id);
            assert_eq!(Digest::of(payload).as_bytes(), &row.payload_digest);
            assert_eq!(row.seq, seq);
            seq += 1;
        })
        .unwrap();
        rows += seq - manifest.first_seq.get();
    }
    assert_eq!(rows, 73);
}
