//! Where a payload is still to be found.

use checks::forge::Archive;
use ledger::layout::Artefact;
use ledger::names::Origin;
use sqlx::{AssertSqlSafe, PgPool};
use verifier::rows::ChunkRows;

/// What stands in the payload of the event `n`, and nowhere else.
pub fn canary(n: u64) -> String {
    format!("canary-{n:04}-of-a-person")
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Objects of an archive that hold a text: in their bytes, or in a column of their rows.
pub fn in_archive(archive: &Archive, origin: &Origin, needle: &str) -> Vec<String> {
    let found = archive.0.iter().filter(|(key, bytes)| {
        holds(bytes, needle) || in_rows(key, bytes, origin).is_some_and(|text| holds(&text, needle))
    });
    found.map(|(key, _)| key.clone()).collect()
}

/// All that the rows of an object say.
fn in_rows(key: &str, bytes: &[u8], origin: &Origin) -> Option<Vec<u8>> {
    let Some(Artefact::Events { range, .. }) = Artefact::parse(key) else {
        return None;
    };
    let count = range.last_seq.get() - range.first_seq.get() + 1;
    let mut text = Vec::new();
    for batch in ChunkRows::open(bytes.to_vec(), origin, &range.workspace, count).unwrap() {
        for row in batch.unwrap().rows() {
            text.extend_from_slice(row.payload.unwrap_or_default());
            text.extend_from_slice(format!("{:?}", row.derived).as_bytes());
        }
    }
    Some(text)
}

/// Tables with a row that holds a text, as text or as bytes.
pub async fn in_database(pool: &PgPool, needle: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.oid::regclass::text FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let hex: String = needle.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut found = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {table} t WHERE t::text LIKE '%{needle}%'
                                                     OR t::text LIKE '%{hex}%')"
        );
        let holds: bool = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(pool).await.unwrap();
        if holds {
            found.push(table);
        }
    }
    found
}
