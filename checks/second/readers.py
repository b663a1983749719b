"""What DuckDB, pyarrow and DataFusion read in an archive, each by itself, as JSON.

    readers.py ARCHIVE QUESTIONS

QUESTIONS is a JSON object: `event_ids` (hex) and `session_ids` to look for. Partition columns are text.
"""

import json
import sys
from decimal import Decimal
from pathlib import Path

import datafusion
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

PARTITIONS = ("workspace", "date", "hour")
BY_PARTITION = """
    SELECT workspace, date, hour, count(*) AS rows, min(seq) AS first_seq, max(seq) AS last_seq,
           count(payload) AS payloads, CAST(sum(input_tokens) AS BIGINT) AS input_tokens,
           sum(unit_cost_input) AS unit_cost_input, count(occurred_at) AS occurred
    FROM events GROUP BY workspace, date, hour ORDER BY workspace, date, hour
"""


def plain(value):
    return f"{value:.9f}" if isinstance(value, Decimal) else value


def rows(table):
    """Rows as lists, in the order of the table."""
    return [[plain(value) for value in row.values()] for row in table.to_pylist()]


class DuckDB:
    def __init__(self, events):
        self.session = duckdb.connect()
        self.session.execute(
            f"""CREATE VIEW events AS SELECT * FROM read_parquet('{events}/**/*.parquet',
                hive_partitioning = true, hive_types_autocast = false)"""
        )

    def ask(self, sql):
        return rows(self.session.sql(sql).to_arrow_table())

    def by_partition(self):
        return self.ask(BY_PARTITION)

    def of_event(self, event_id):
        return self.ask(f"SELECT workspace, seq FROM events WHERE event_id = unhex('{event_id}') ORDER BY 1, 2")

    def of_session(self, session_id):
        return self.ask(f"SELECT workspace, seq FROM events WHERE session_id = '{session_id}' ORDER BY 1, 2")


class DataFusion:
    def __init__(self, events):
        self.session = datafusion.SessionContext()
        partitions = [(name, pa.string()) for name in PARTITIONS]
        self.session.register_parquet("events", str(events), table_partition_cols=partitions)

    def ask(self, sql):
        return rows(self.session.sql(sql).to_arrow_table())

    def by_partition(self):
        return self.ask(BY_PARTITION)

    def of_event(self, event_id):
        literal = f"arrow_cast(X'{event_id}', 'FixedSizeBinary(16)')"
        return self.ask(f"SELECT workspace, seq FROM events WHERE event_id = {literal} ORDER BY 1, 2")

    def of_session(self, session_id):
        return self.ask(f"SELECT workspace, seq FROM events WHERE session_id = '{session_id}' ORDER BY 1, 2")


class Pyarrow:
    def __init__(self, events):
        schema = pa.schema([(name, pa.string()) for name in PARTITIONS])
        partitioning = ds.partitioning(schema, flavor="hive")
        self.events = ds.dataset(events, format="parquet", partitioning=partitioning)

    def by_partition(self):
        table = self.events.to_table(
            columns=[*PARTITIONS, "seq", "payload", "input_tokens", "unit_cost_input", "occurred_at"]
        )
        grouped = table.group_by(list(PARTITIONS)).aggregate(
            [
                ([], "count_all"),
                ("seq", "min"),
                ("seq", "max"),
                ("payload", "count"),
                ("input_tokens", "sum"),
                ("unit_cost_input", "sum"),
                ("occurred_at", "count"),
            ]
        )
        return rows(grouped.sort_by([(name, "ascending") for name in PARTITIONS]))

    def places(self, condition):
        table = self.events.to_table(columns=["workspace", "seq"], filter=condition)
        return rows(table.sort_by([("workspace", "ascending"), ("seq", "ascending")]))

    def of_event(self, event_id):
        return self.places(pc.field("event_id") == pa.scalar(bytes.fromhex(event_id), pa.binary(16)))

    def of_session(self, session_id):
        return self.places(pc.field("session_id") == session_id)


def described(session, path):
    """How a file is made, by its own account."""
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
    columns = session.execute(
        """SELECT path_in_schema, string_agg(DISTINCT encodings), string_agg(DISTINCT compression),
           bool_and(bloom_filter_offset IS NOT NULL) FROM parquet_metadata(?) GROUP BY path_in_schema""",
        [str(path)],
    )
    columns = {name: facts for name, *facts in columns.fetchall()}
    seqs = file.read(columns=["seq"]).column("seq").to_pylist()
    return {
        "created_by": file.metadata.created_by,
        "sorted_by": sorted({str(group.sorting_columns) for group in groups}),
        "in_order": seqs == sorted(seqs),
        "largest_group": max(group.num_rows for group in groups),
        "blooms": sorted(name for name, (*_, bloom) in columns.items() if bloom),
        "dictionaries": sorted(name for name, (encodings, *_) in columns.items() if "DICTIONARY" in encodings),
        "compression": sorted({compression for _, compression, _ in columns.values()}),
        "columns": [[field.name, str(field.type)] for field in file.schema_arrow],
    }


def main(archive, questions):
    events = Path(archive) / "events"
    questions = json.loads(questions)
    told = {}
    for reader in (DuckDB(events), DataFusion(events), Pyarrow(events)):
        told[type(reader).__name__.lower()] = {
            "by_partition": reader.by_partition(),
            "of_event": [reader.of_event(event_id) for event_id in questions["event_ids"]],
            "of_session": [reader.of_session(session_id) for session_id in questions["session_ids"]],
        }
    session = duckdb.connect()
    files = sorted(events.rglob("*.parquet"))
    broken = session.sql(
        f"""SELECT count(*) FROM read_parquet('{events}/**/*.parquet')
            WHERE sha256(payload) <> lower(hex(payload_digest))"""
    ).fetchall()[0][0]
    told["files"] = [described(session, path) for path in files]
    told["digests_that_differ"] = broken
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
