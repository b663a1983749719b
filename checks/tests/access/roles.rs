//! What each Postgres role is refused (FAULTS 39): every statement of a list, by every role.

use checks::submission::Submission;
use checks::worker::Worker;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, raw_sql};

use crate::logins::{login, make};
use crate::world::{World, start};

/// What no role of a service or a tenant may do. `{entries}` and `{submissions}` stand for the
/// partitions of a day, `{day}` for its first microsecond.
const NEVER: &[&str] = &[
    "UPDATE entries SET payload = 'x'",
    "UPDATE entries SET recorded_at = recorded_at + 1",
    // A payload is never withheld by hand, nor from the start, nor the mark of it set or cleared.
    "UPDATE entries SET payload = NULL, erased_by = 7 WHERE workspace = 'acme' AND seq = 2",
    "UPDATE entries SET erased_by = 7",
    "INSERT INTO entries SELECT * FROM entries WHERE false",
    "INSERT INTO entries (erased_by) VALUES (7)",
    // Nor is one archived by hand.
    "UPDATE entries SET payload = NULL, archived = true WHERE workspace = 'acme' AND seq = 2",
    "UPDATE entries SET archived = true",
    "INSERT INTO entries (archived) VALUES (true)",
    "UPDATE days SET archived_at = 7",
    "ALTER FUNCTION archive_day(bigint, bigint) SECURITY INVOKER",
    "DROP FUNCTION archive_day(bigint, bigint)",
    "DELETE FROM erasures",
    "UPDATE erasures SET seq = 2",
    "TRUNCATE erasures",
    "DELETE FROM amended_chunks",
    "UPDATE amended_chunks SET erasure = 7",
    "TRUNCATE amended_chunks",
    "DROP TRIGGER entries_erasure ON entries",
    "ALTER FUNCTION erase_payloads(text, bigint) SECURITY INVOKER",
    "CREATE OR REPLACE FUNCTION refuse_all_but_erasure() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "DELETE FROM entries",
    "DELETE FROM entries WHERE seq = 2",
    "TRUNCATE entries",
    "UPDATE submissions SET counter = 7",
    "DELETE FROM submissions",
    "TRUNCATE submissions, entries",
    "SELECT * FROM entries FOR UPDATE",
    "SELECT * FROM entries FOR KEY SHARE",
    "INSERT INTO heads SELECT * FROM heads ON CONFLICT (workspace) DO UPDATE SET workspace = 'x'",
    "MERGE INTO entries e USING entries o ON e.seq = o.seq WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM entries RETURNING 1) SELECT * FROM gone",
    "DELETE FROM heads",
    "TRUNCATE heads",
    "UPDATE heads SET workspace = 'gamma' WHERE workspace = 'beta'",
    "UPDATE heads SET last_seq = last_seq - 1",
    "UPDATE heads SET recorded_at = 0, last_seq = last_seq + 1",
    "DELETE FROM keys",
    "TRUNCATE keys",
    "UPDATE keys SET role = 'root', public_key = public_key",
    "UPDATE keys SET revoked_seq = NULL",
    "UPDATE keys SET highest_counter = -1 + highest_counter",
    "UPDATE keys SET registered_seq = 1",
    "DELETE FROM reader_tokens",
    "TRUNCATE reader_tokens",
    "UPDATE reader_tokens SET sha256 = decode(repeat('00', 32), 'hex')",
    "UPDATE reader_tokens SET workspace = 'beta'",
    "UPDATE reader_tokens SET revoked_at = NULL, revoked_by = NULL",
    "INSERT INTO reader_roles VALUES (session_user, 'beta')",
    "UPDATE ledger SET origin = 'ledger.example.com/other'",
    "DELETE FROM ledger",
    "INSERT INTO _sqlx_migrations SELECT * FROM _sqlx_migrations",
    "DELETE FROM fence",
    "TRUNCATE fence",
    "UPDATE fence SET not_before = 0",
    "UPDATE fence SET one = NULL",
    "DELETE FROM sealed_chunks",
    "UPDATE sealed_chunks SET last_seq = 0",
    "TRUNCATE sealed_hours",
    "DELETE FROM published",
    "UPDATE seal_keys SET from_index = from_index + 1",
    "DELETE FROM seal_keys",
    "UPDATE seal_key_notes SET note = 'another'",
    "DELETE FROM seal_key_notes",
    "TRUNCATE seal_key_notes",
    "INSERT INTO restores VALUES (1, 'x', 1, decode(repeat('00', 32), 'hex'), NULL)",
    "UPDATE restores SET log_size = log_size + 1",
    "DELETE FROM restores",
    "TRUNCATE restores",
    "INSERT INTO days VALUES (0)",
    "DELETE FROM days",
    // Partitions, past the tables above them.
    "SELECT * FROM {entries}",
    "SELECT * FROM {submissions}",
    "INSERT INTO {entries} SELECT * FROM entries",
    "UPDATE {entries} SET payload = 'x'",
    "DELETE FROM {entries}",
    "TRUNCATE {entries}",
    "DROP TABLE {entries}",
    "ALTER TABLE entries DETACH PARTITION {entries}",
    "COPY {entries} TO STDOUT",
    // The schema.
    "DROP TABLE entries",
    "DROP TABLE entries CASCADE",
    "DROP SCHEMA public CASCADE",
    "DROP OWNED BY tally_owner",
    "DROP TRIGGER entries_fixed ON entries",
    "DROP POLICY of_tenant ON entries",
    "CREATE POLICY mine ON entries USING (true)",
    "DROP FUNCTION ensure_day(bigint)",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "ALTER TABLE entries DISABLE TRIGGER ALL",
    "ALTER TABLE entries DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE entries ADD COLUMN more text",
    "ALTER TABLE entries OWNER TO session_user",
    "ALTER FUNCTION readable_workspaces() SET search_path = pg_temp",
    "CREATE TABLE mine (x int)",
    "CREATE TEMP TABLE entries (x int)",
    "CREATE VIEW mine AS SELECT * FROM entries",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE RULE r AS ON INSERT TO entries DO INSTEAD NOTHING",
    "CREATE INDEX ON entries (seq)",
    "CREATE EXTENSION dblink",
    "LOCK TABLE entries IN ACCESS EXCLUSIVE MODE",
    // Other roles, and the server.
    "SET ROLE tally_owner",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "SET LOCAL session_replication_role = replica",
    "GRANT tally_owner TO session_user",
    "GRANT SELECT ON {entries} TO session_user",
    "ALTER ROLE session_user SUPERUSER",
    "ALTER ROLE session_user BYPASSRLS",
    "CREATE ROLE mine",
    "SELECT pg_reload_conf()",
    "COPY entries FROM '/etc/passwd'",
    "COPY entries FROM PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/tally-access-test'",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
];

/// What one group may and the others may not.
const ONLY: &[(&str, &[&str])] = &[
    (
        "INSERT INTO entries (workspace, seq, recorded_at, event_id, payload_digest, link, payload)
         SELECT workspace, seq, recorded_at, event_id, payload_digest, link, payload
         FROM entries WHERE false",
        &["tally_ingest"],
    ),
    ("INSERT INTO erasures SELECT * FROM erasures WHERE false", &["tally_ingest"]),
    ("SELECT * FROM erasures", &["tally_ingest", "tally_seal"]),
    ("SELECT event_type_of('{}')", &["tally_ingest", "tally_seal"]),
    ("SELECT erase_payloads('acme', 7)", &["tally_seal"]),
    ("SELECT archive_day({day}, 7)", &["tally_seal"]),
    ("INSERT INTO amended_chunks SELECT * FROM amended_chunks WHERE false", &["tally_seal"]),
    ("SELECT * FROM amended_chunks", &["tally_seal"]),
    ("INSERT INTO submissions SELECT * FROM submissions WHERE false", &["tally_ingest"]),
    ("INSERT INTO heads SELECT * FROM heads WHERE false", &["tally_ingest"]),
    ("UPDATE heads SET last_seq = last_seq + 1 WHERE false", &["tally_ingest"]),
    ("INSERT INTO reader_tokens SELECT * FROM reader_tokens WHERE false", &["tally_ingest"]),
    ("SELECT ensure_day(0)", &["tally_ingest"]),
    ("SELECT sha256 FROM reader_tokens", &["tally_ingest", "tally_http"]),
    ("UPDATE fence SET not_before = not_before + 1", &["tally_seal"]),
    ("INSERT INTO sealed_hours SELECT * FROM sealed_hours WHERE false", &["tally_seal"]),
    ("INSERT INTO sealed_chunks SELECT * FROM sealed_chunks WHERE false", &["tally_seal"]),
    ("INSERT INTO seal_keys SELECT * FROM seal_keys WHERE false", &["tally_seal"]),
    ("INSERT INTO seal_key_notes SELECT * FROM seal_key_notes WHERE false", &["tally_seal"]),
    ("SELECT * FROM seal_key_notes", &["tally_seal"]),
    ("SELECT * FROM sealed_chunks", &["tally_seal", "tally_http"]),
    ("SELECT readable_workspaces()", &["acme_sql"]),
    ("SELECT * FROM reader_roles", &[]),
];

/// What may be refused, by its code: no right, a trigger, an RLS policy, a check.
const REFUSED: &[&str] = &["42501", "23001", "23514"];

struct Ground {
    world: World,
    url: String,
    entries: String,
    submissions: String,
    day: i64,
}

impl Ground {
    async fn new() -> Self {
        let mut world = World::new().await;
        // A request to erase the event at seq 2, so that there is something that the archiver may do.
        let founder = &mut world.founders[0];
        let submission = erasure(founder, &world.rig.pool).await;
        world.post(&submission).await;
        let (id, _) = world.token("acme").await;
        world.token("beta").await;
        let path = format!("/v1/workspaces/acme/tokens/{id}");
        world.admin(reqwest::Method::DELETE, &path, None).await;
        world.stop().await;
        let pool = &world.rig.pool;
        make(pool).await;
        // A key that is revoked, a tenant, a checkpoint; the day sealed, and the fence behind it.
        raw_sql(
            "INSERT INTO keys VALUES ('acme', decode(repeat('07', 32), 'hex'), 'agent', NULL, 2, 3);
             UPDATE fence SET not_before = (SELECT day + 86400000000 FROM days);
             INSERT INTO reader_roles VALUES ('acme_sql', 'acme');
             INSERT INTO published VALUES (true, 1, 'a checkpoint');
             INSERT INTO sealed_hours SELECT day + 82800000000, decode(repeat('00', 32), 'hex'), 0
             FROM days;
             INSERT INTO sealed_chunks
             SELECT workspace, 1, max(seq), min(recorded_at) - min(recorded_at) % 3600000000, 0,
                    decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'),
                    row_number() OVER () FROM entries GROUP BY workspace",
        )
        .execute(pool)
        .await
        .unwrap();
        let partition = async |of: &str| -> String {
            sqlx::query_scalar(
                "SELECT inhrelid::regclass::text FROM pg_inherits
                                WHERE inhparent = $1::regclass ORDER BY 1 LIMIT 1",
            )
            .bind(of)
            .fetch_one(pool)
            .await
            .unwrap()
        };
        let (entries, submissions) = (partition("entries").await, partition("submissions").await);
        let day: i64 = sqlx::query_scalar("SELECT day FROM days").fetch_one(pool).await.unwrap();
        let url = world.rig.postgres.url();
        Self { world, url, entries, submissions, day }
    }

    async fn connect(&self, name: &str) -> PgConnection {
        PgConnection::connect(&login(&self.url, name)).await.unwrap()
    }

    fn filled(&self, statement: &str) -> String {
        let statement = statement.replace("{entries}", &self.entries);
        let statement = statement.replace("{submissions}", &self.submissions);
        statement.replace("{day}", &self.day.to_string())
    }

    /// A digest of every row of every table.
    async fn digest(&self) -> Vec<(String, String)> {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT c.oid::regclass::text FROM pg_class c
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1",
        )
        .fetch_all(&self.world.rig.pool)
        .await
        .unwrap();
        let mut digests = Vec::new();
        for table in tables {
            let sql = format!(
                "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {table} t"
            );
            let digest = sqlx::query_scalar(sqlx::AssertSqlSafe(sql));
            digests.push((table, digest.fetch_one(&self.world.rig.pool).await.unwrap()));
        }
        digests
    }
}

/// A request to erase the event at seq 2 of the founder's workspace.
async fn erasure(founder: &mut Worker, pool: &PgPool) -> Submission {
    let (workspace, sql) = (
        founder.workspace.to_string(),
        "SELECT event_id::text FROM entries WHERE workspace = $1 AND seq = 2",
    );
    let named: String = sqlx::query_scalar(sql).bind(&workspace).fetch_one(pool).await.unwrap();
    let payload = serde_json::json!({
        "event_id": "00000000-0000-4000-8000-000000000107",
        "event_type": "ledger.payload_erased",
        "occurred_at": start().to_string(),
        "workspace_id": workspace,
        "context": { "event_ids": [named], "reason": "a test" },
    });
    founder.sign(vec![payload.to_string().into_bytes()])
}

/// The code with which a statement is refused; `None` where it is not. Nothing of it stays.
async fn refusal(connection: &mut PgConnection, statement: String) -> Option<String> {
    let mut transaction = connection.begin().await.unwrap();
    let done = transaction.execute(raw_sql(sqlx::AssertSqlSafe(statement))).await;
    let refused = done.err().map(|error| match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        other => other.to_string(),
    });
    transaction.rollback().await.unwrap();
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_the_list_is_refused_to_every_role() {
    let ground = Ground::new().await;
    let before = ground.digest().await;
    let mut wrong = Vec::new();
    for (role, takes_on) in [
        ("tally_ingest", None),
        ("tally_ingest", Some("tally_writer")),
        ("tally_http", None),
        ("tally_http", Some("tally_api")),
        ("tally_seal", None),
        ("tally_seal", Some("tally_archiver")),
        ("acme_sql", None),
        ("stranger", None),
    ] {
        let mut connection = ground.connect(role).await;
        if let Some(group) = takes_on {
            let group = format!("SET ROLE {group}");
            connection.execute(raw_sql(sqlx::AssertSqlSafe(group))).await.unwrap();
        }
        // Who may not even look into the schema is told that there is nothing.
        let is_stranger = role == "stranger";
        for statement in NEVER {
            let found = refusal(&mut connection, ground.filled(statement)).await;
            if is_stranger && found.is_some() {
                continue;
            }
            if !found.as_deref().is_some_and(|code| REFUSED.contains(&code)) {
                wrong.push(format!("{role}: {statement}: {found:?}"));
            }
        }
        for (statement, allowed) in ONLY {
            let found = refusal(&mut connection, ground.filled(statement)).await;
            if is_stranger && found.is_some() {
                continue;
            }
            let expected = if allowed.contains(&role) { None } else { Some("42501") };
            if found.as_deref() != expected {
                wrong.push(format!("{role}: {statement}: {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(ground.digest().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_too_is_refused_a_change_of_records() {
    let ground = Ground::new().await;
    let before = ground.digest().await;
    let mut connection = ground.connect("tally_migrate").await;
    for table in [
        "entries",
        "submissions",
        "heads",
        "keys",
        "reader_tokens",
        "fence",
        "{entries}",
        "{submissions}",
    ] {
        let mut statements = vec![format!("DELETE FROM {table}"), format!("TRUNCATE {table}")];
        if table.contains("entries") || table.contains("submissions") {
            statements.push(format!("UPDATE {table} SET workspace = workspace"));
        }
        for statement in statements {
            let found = refusal(&mut connection, ground.filled(&statement)).await;
            assert_eq!(found.as_deref(), Some("23001"), "{statement}");
        }
    }
    for statement in [
        // Seq 7 does not name this event; nothing may be erased of the ledger's own.
        "UPDATE entries SET payload = NULL, erased_by = 7 WHERE workspace = 'acme' AND seq = 3",
        "UPDATE entries SET payload = NULL, erased_by = 7 WHERE workspace = 'acme' AND seq = 1",
        "UPDATE entries SET payload = NULL, erased_by = 7 WHERE workspace = 'beta' AND seq = 2",
        "UPDATE entries SET archived = true WHERE workspace = 'acme' AND seq = 2",
        "UPDATE entries SET payload = NULL, archived = true WHERE workspace = 'acme' AND seq = 2",
        "UPDATE erasures SET seq = 2",
        "UPDATE heads SET last_seq = last_seq - 1",
        "UPDATE fence SET not_before = 0",
        "UPDATE keys SET revoked_seq = NULL",
        "UPDATE reader_tokens SET name = 'x'",
    ] {
        assert_eq!(refusal(&mut connection, statement.to_owned()).await.as_deref(), Some("23001"));
    }
    for statement in ["SET session_replication_role = replica", "SET ROLE postgres"] {
        assert_eq!(refusal(&mut connection, statement.to_owned()).await.as_deref(), Some("42501"));
    }
    assert_eq!(ground.digest().await, before);
}

/// How many rows of each tenant a connection sees in each table.
async fn seen(pool: &PgPool) -> Vec<(i64, i64)> {
    let mut counts = Vec::new();
    for table in ["entries", "submissions", "heads", "keys"] {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE workspace = 'acme'),
                    count(*) FILTER (WHERE workspace <> 'acme') FROM {table}"
        );
        counts.push(sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.unwrap());
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_sql_sees_its_own_rows_whatever_it_tries() {
    let ground = Ground::new().await;
    // One connection: what one statement sets, the next ones see.
    let one = || PgPoolOptions::new().max_connections(1);
    let tenant = one().connect(&login(&ground.url, "acme_sql")).await.unwrap();
    let own = [(7, 0), (3, 0), (1, 0), (2, 0)];
    assert_eq!(seen(&tenant).await, own);
    for attempt in [
        "SET tally.workspace = 'beta'",
        "SET search_path = pg_temp, public",
        "SET ROLE tally_reader",
        "RESET ROLE",
        "SET enable_seqscan = off",
        "SET default_transaction_read_only = off",
    ] {
        raw_sql(attempt).execute(&tenant).await.unwrap();
        assert_eq!(seen(&tenant).await, own, "{attempt}");
    }
    raw_sql("SET row_security = off").execute(&tenant).await.unwrap();
    let refused = sqlx::query("SELECT * FROM entries").execute(&tenant).await.unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");

    // A login that no workspace was given to.
    raw_sql("CREATE ROLE other_sql LOGIN IN ROLE tally_reader")
        .execute(&ground.world.rig.pool)
        .await
        .unwrap();
    let other = one().connect(&login(&ground.url, "other_sql")).await.unwrap();
    assert_eq!(seen(&other).await, [(0, 0); 4]);

    // The service's own reading role: what the transaction names, and nothing else.
    let api = one().connect(&login(&ground.url, "tally_http")).await.unwrap();
    assert_eq!(seen(&api).await, [(0, 0); 4]);
    raw_sql("SET tally.workspace = 'acme'").execute(&api).await.unwrap();
    assert_eq!(seen(&api).await, own);
    let mut within =
        ingest::store::access::within(&api, &ledger::names::Workspace::new("beta").unwrap())
            .await
            .unwrap();
    let beta: i64 = sqlx::query_scalar("SELECT count(*) FROM entries WHERE workspace = 'beta'")
        .fetch_one(&mut *within)
        .await
        .unwrap();
    assert_eq!(beta, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_login_holds_no_lock_of_the_ledger() {
    let ground = Ground::new().await;
    let tenants = include_str!("../../../policies/postgres/tenants.sql");
    raw_sql(tenants).execute(&ground.world.rig.pool).await.unwrap();
    let mut connection = ground.connect("acme_sql").await;
    for statement in [
        "SELECT pg_advisory_lock(32762647826882406)",
        "SELECT pg_advisory_xact_lock_shared(1)",
        "SELECT pg_try_advisory_lock(1, 2)",
        "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')",
    ] {
        let found = refusal(&mut connection, statement.to_owned()).await;
        assert_eq!(found.as_deref(), Some("42501"), "{statement}");
    }
}
