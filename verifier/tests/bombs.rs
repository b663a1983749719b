//! Files that are small and claim much: refused before anything is decoded.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use ledger::columns::{Derived, Row};
use ledger::hash::Digest;
use ledger::names::{Origin, Workspace};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::schema::types::ColumnPath;
use verifier::rows::{ChunkRows, RowsError, properties, write};

fn names() -> (Origin, Workspace) {
    (Origin::new("ledger.example.com/test").unwrap(), Workspace::new("acme").unwrap())
}

/// So many rows, each with a link of its own or all with the same one.
fn object(rows: u64, linked: bool) -> Vec<u8> {
    let (origin, workspace) = names();
    let row = |seq: u64| Row {
        seq,
        recorded_at: 1_700_000_000_000_000,
        event_id: [1; 16],
        payload: Some(b"{}"),
        payload_digest: [1; 32],
        link: if linked { *Digest::of(&seq.to_be_bytes()).as_bytes() } else { [2; 32] },
        submission_hash: [3; 32],
        submission_index: 0,
        submission_count: 1,
        counter: 1,
        public_key: [4; 32],
        signature: [5; 64],
        derived: Derived { event_type: "a".into(), ..Derived::withheld(0) },
    };
    let rows: Vec<_> = (1..=rows).map(row).collect();
    write(&origin, &workspace, &rows).unwrap()
}

fn drain(object: Vec<u8>, rows: u64) -> Result<usize, RowsError> {
    let (origin, workspace) = names();
    let batches = ChunkRows::open(object, &origin, &workspace, rows)?;
    batches.map(|batch| Ok(batch?.len())).sum()
}

#[test]
fn more_rows_than_the_bytes_of_the_file_can_hold() {
    assert_eq!(drain(object(20_000, true), 20_000), Ok(20_000));
    let file = object(200_000, false);
    assert!(file.len() < 200_000 * 32);
    let refused = drain(file, 200_000);
    let rows = |error: &RowsError| matches!(error, RowsError::Limit { what, .. } if *what == "the number of rows");
    assert!(refused.as_ref().is_err_and(rows), "{refused:?}");
}

/// Each value of such a page says how much it takes of the one before: a megabyte of them comes to terabytes.
#[test]
fn an_encoding_that_hides_what_it_comes_to() {
    let (origin, workspace) = names();
    let file = bytes::Bytes::from(object(10, true));
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = batches.next().unwrap().unwrap();
    for (column, encoding, refused) in [
        ("payload", Encoding::DELTA_BYTE_ARRAY, true),
        ("link", Encoding::DELTA_BYTE_ARRAY, true),
        ("payload", Encoding::DELTA_LENGTH_BYTE_ARRAY, false),
    ] {
        let path = || ColumnPath::from(column);
        let properties = properties(&origin, &workspace).unwrap().into_builder();
        let properties = properties
            .set_column_dictionary_enabled(path(), false)
            .set_column_encoding(path(), encoding)
            .build();
        let mut writer =
            ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        let read = drain(writer.into_inner().unwrap(), 10);
        let pages = matches!(&read, Err(RowsError::Pages { column: of, .. }) if *of == column);
        assert_eq!(pages, refused, "{column} as {encoding}: {read:?}");
        assert_eq!(read.is_ok(), !refused, "{column} as {encoding}: {read:?}");
    }
}

/// Where a file says from which Arrow types it was written, the library panics over some of what may stand there.
#[test]
fn arrow_types_that_are_none() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let (origin, workspace) = names();
    let plain = bytes::Bytes::from(object(10, true));
    let mut batches = ParquetRecordBatchReaderBuilder::try_new(plain).unwrap().build().unwrap();
    let batch = batches.next().unwrap().unwrap();
    let properties = properties(&origin, &workspace).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    assert_eq!(drain(file.clone(), 10), Ok(10));
    let name = b"ARROW:schema";
    let at = file.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let is_text = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    // Behind the name stand a type and a length; the text itself is a long run.
    let start = (at..).find(|start| file[*start..*start + 64].iter().all(is_text)).unwrap();
    let length = file[start..].iter().take_while(|byte| is_text(byte)).count() / 4 * 4;
    let types = STANDARD.decode(&file[start..start + length]).unwrap();
    verifier::rows::quiet_decoder();
    let mut panicked = 0;
    for place in 0..types.len() {
        let mut types = types.clone();
        types[place] ^= 0x10;
        let mut file = file.clone();
        file[start..start + length].copy_from_slice(STANDARD.encode(types).as_bytes());
        match drain(file, 10) {
            Ok(rows) => assert_eq!(rows, 10),
            Err(RowsError::Decode { reason, .. }) if reason == "it panicked" => panicked += 1,
            Err(_) => {}
        }
    }
    assert!(
        panicked > 0,
        "the library has learnt not to panic: then nothing needs to be caught here"
    );
}
