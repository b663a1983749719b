"""What pyarrow and DuckDB read in the files of replays, against the lines of JSON of the same ones, as JSON.

    replayed.py DIRECTORY

`NAME-entries.FORMAT` and `NAME-payloads.FORMAT` are compared; `NAME-false.FORMAT` is a part of one, and has to be
refused. Every entry's digest and link are computed again from its columns.
"""

import datetime
import json
import sys
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

import primitives as p

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
HEX = ("payload_digest", "link", "submission_hash")
SAME = ("workspace", "seq", "submission_index", "submission_count", "counter", *HEX)


def micros(time):
    return (time - EPOCH) // datetime.timedelta(microseconds=1)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def arrow(path):
    with path.open("rb") as file:
        return ipc.open_stream(file).read_all()


def duck_rows(relation):
    """As bytes and UTC, whatever the session would show."""
    return relation.to_arrow_table().to_pylist()


def entry(row):
    shown = {name: row[name].hex() if name in HEX else row[name] for name in SAME}
    shown["event_id"] = str(uuid.UUID(bytes=row["event_id"]))
    shown["recorded_at"] = micros(row["recorded_at"])
    shown["payload"] = None if row["payload"] is None else json.loads(row["payload"])
    return shown


def line_entry(line):
    shown = {name: line[name] for name in (*SAME, "event_id", "payload")}
    shown["recorded_at"] = micros(datetime.datetime.fromisoformat(line["recorded_at"]))
    return shown


def derived(row):
    """What the payload says, in columns."""
    payload = json.loads(row["payload"])
    for name in ("event_type", "actor_id", "session_id", "model", "input_tokens", "success"):
        if payload.get(name) != row[name]:
            yield name
    if micros(datetime.datetime.fromisoformat(payload["occurred_at"])) != micros(row["occurred_at"]):
        yield "occurred_at"


def count_leaves(table):
    """How many entries have the digest and the link that their columns come to."""
    origin, heads, right = table.schema.metadata[b"tallystick.origin"].decode(), {}, 0
    for row in table.to_pylist():
        before = heads.get(row["workspace"]) or p.genesis_link(origin, row["workspace"])
        leaf = p.leaf_hash(p.entry(
            row["seq"], micros(row["recorded_at"]), row["event_id"], row["payload_digest"],
            row["submission_hash"], row["submission_index"], row["submission_count"]))
        heads[row["workspace"]] = row["link"]
        right += p.sha(row["payload"]) == row["payload_digest"] and p.next_link(before, leaf) == row["link"]
    return right


def compare(directory, told):
    for path in sorted(directory.glob("*-entries.ndjson")):
        of, entries = path.name.removesuffix("-entries.ndjson"), lines(path)
        stream = arrow(path.with_suffix(".arrow"))
        file = pq.read_table(path.with_suffix(".parquet"))
        wanted = [line_entry(line) for line in entries]
        duck = duckdb.connect()
        duck.execute("SET TimeZone = 'UTC'")
        readers = {
            "pyarrow, stream": stream.to_pylist(),
            "pyarrow, Parquet": file.to_pylist(),
            "DuckDB, stream": duck_rows(duck.sql("SELECT * FROM stream")),
            "DuckDB, Parquet": duck_rows(duck.sql(f"SELECT * FROM '{path.with_suffix('.parquet')}'")),
        }
        for reader, rows in readers.items():
            if [entry(row) for row in rows] != wanted:
                told["differences"].append([of, reader])
            if rows != readers["pyarrow, stream"]:
                told["differences"].append([of, reader, "columns"])
            told["differences"].extend([of, reader, name] for row in rows for name in derived(row))
        if stream.schema != file.schema:
            told["differences"].append([of, "schema"])
        told["compared"].append([f"{of}-entries", len(wanted)])
        if of == "0":
            told["leaves"] = count_leaves(stream)
    for path in sorted(directory.glob("*-payloads.ndjson")):
        of, wanted = path.name.removesuffix("-payloads.ndjson"), path.read_bytes().split(b"\n")[:-1]
        for table in (arrow(path.with_suffix(".arrow")), pq.read_table(path.with_suffix(".parquet"))):
            if table.column_names != ["payload"] or table["payload"].to_pylist() != wanted:
                told["differences"].append([of, "payloads"])
        told["compared"].append([f"{of}-payloads", len(wanted)])


def refuse(directory, told):
    for suffix, read in ((".arrow", arrow), (".parquet", pq.read_table)):
        for path in sorted(directory.glob(f"*-false{suffix}")):
            try:
                read(path)
                told["taken_for_whole"].append(path.name)
            except (pa.ArrowInvalid, OSError):
                told["refused"] += 1


def main():
    told = {"compared": [], "differences": [], "leaves": 0, "refused": 0, "taken_for_whole": []}
    directory = Path(sys.argv[1])
    compare(directory, told)
    refuse(directory, told)
    print(json.dumps(told))


main()
