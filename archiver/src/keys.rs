//! What the database remembers of the seal keys: which was in force where, and the notes that say so,
//! the one that is about to be logged too.
//!
//! Not here: changing them (see [`crate::rotate`]); the private keys (see [`crate::keyfile`]).

use ledger::hash::Digest;
use ledger::line::{Entrance, KeyLine, Term};
use ledger::note::{Note, VerifierKey};
use ledger::succession::{Cutoff, KeyNote};
use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::Query;
use sqlx::{PgConnection, Row as _};

use crate::records::{bytes, decoded, unsigned};

/// A note about the seal keys that is to be the log's next leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Which leaf it is to be.
    pub index: u64,
    /// The whole note.
    pub note: String,
    /// The key in force behind it, which signs the checkpoint over it.
    pub new_key: VerifierKey,
}

/// What is kept cannot be read: it is written by this file alone.
fn unreadable(column: &'static str) -> sqlx::Error {
    let source = std::io::Error::other(format!("`{column}` is not what the archiver has written"));
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: source.into() }
}

fn key_note(note: &str) -> Option<KeyNote> {
    KeyNote::parse(Note::parse(note.as_bytes()).ok()?.body())?.ok()
}

/// Reads the line of seal keys; `None` where they have never changed.
pub async fn load(conn: &mut PgConnection) -> Result<Option<KeyLine>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT from_index, root, entrance, verifier_key FROM seal_keys
         ORDER BY place",
    );
    let mut terms = Vec::new();
    for row in rows.fetch_all(&mut *conn).await? {
        let root = Digest::from_bytes(bytes(&row, "root")?);
        let entrance: String = row.try_get("entrance")?;
        let key: String = row.try_get("verifier_key")?;
        terms.push(Term {
            key: decoded("verifier_key", key.parse())?,
            before: Cutoff { size: unsigned(&row, "from_index")?, root },
            entrance: Entrance::parse(&entrance).ok_or_else(|| unreadable("entrance"))?,
        });
    }
    let notes: Vec<String> = sqlx::query_scalar(
        "SELECT note FROM seal_key_notes
         WHERE log_index < (SELECT log_size FROM published) ORDER BY log_index",
    )
    .fetch_all(conn)
    .await?;
    let mut revoked = Vec::new();
    for note in notes {
        match key_note(&note).ok_or_else(|| unreadable("note"))? {
            KeyNote::Revocation(revocation) => revoked.push(revocation.key),
            KeyNote::Succession(_) => {}
        }
    }
    Ok(KeyLine::from_terms(terms, revoked))
}

/// Keeps the line of seal keys, as far as it is not kept yet.
pub async fn keep(conn: &mut PgConnection, line: &KeyLine) -> Result<(), sqlx::Error> {
    for (place, Term { key, before, entrance }) in (0_i64..).zip(line.terms()) {
        sqlx::query(
            "INSERT INTO seal_keys (place, from_index, root, entrance, verifier_key)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (verifier_key) DO NOTHING",
        )
        .bind(place)
        .bind(before.size.cast_signed())
        .bind(before.root.as_bytes().as_slice())
        .bind(entrance.as_str())
        .bind(key.to_string())
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// The statement that keeps a note about the seal keys, where it is not kept yet.
pub(crate) fn insert(index: i64, note: &str) -> Query<'_, Postgres, PgArguments> {
    sqlx::query(
        "INSERT INTO seal_key_notes (log_index, note) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(index)
    .bind(note)
}

/// The note about the seal keys that was to be logged behind `size` leaves.
pub async fn pending(conn: &mut PgConnection, size: u64) -> Result<Option<Pending>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT log_index, note FROM seal_key_notes WHERE log_index >= $1 ORDER BY log_index LIMIT 1",
    )
    .bind(size.cast_signed())
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let note: String = row.try_get("note")?;
        let new_key = key_note(&note).map(|note| note.new_key().clone());
        let new_key = new_key.ok_or_else(|| unreadable("note"))?;
        Ok(Pending { index: unsigned(&row, "log_index")?, note, new_key })
    })
    .transpose()
}
