//! Rows in the binary form of COPY.
//!
//! Here: the encoding (PostgreSQL manual, "COPY", "Binary Format"). Not here: which columns.

use sqlx::PgConnection;

/// What every binary COPY starts with: signature, no flags, no extension.
const START: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with: a row of -1 fields.
const END: [u8; 2] = (-1_i16).to_be_bytes();
/// Bytes handed to the connection at once.
const CHUNK: usize = 256 * 1024;

/// Rows being encoded.
#[derive(Debug)]
pub(super) struct Rows(Vec<u8>);

impl Rows {
    /// No row yet; room for `bytes` of them.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut rows = Vec::with_capacity(START.len() + bytes + END.len());
        rows.extend_from_slice(START);
        Self(rows)
    }

    /// Starts a row of so many fields.
    pub(super) fn row(&mut self, fields: i16) -> &mut Self {
        self.0.extend_from_slice(&fields.to_be_bytes());
        self
    }

    /// Adds a field of type `text`, `bytea` or `uuid`.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // A payload has at most 1 MiB. Were it longer than the form can say, -1 would make the
        // field NULL, and the column refuse it.
        let length = i32::try_from(value.len()).unwrap_or(-1);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a field of type `bigint`.
    pub(super) fn bigint(&mut self, value: i64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Sends the rows; gives how many the database took.
    pub(super) async fn send(
        mut self,
        connection: &mut PgConnection,
        statement: &'static str,
    ) -> Result<u64, sqlx::Error> {
        self.0.extend_from_slice(&END);
        let mut copy = connection.copy_in_raw(statement).await?;
        for chunk in self.0.chunks(CHUNK) {
            copy.send(chunk).await?;
        }
        copy.finish().await
    }
}
