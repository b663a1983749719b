"""The columns of a chunk's object, and reading it (docs/spec/chunk.md)."""


import pyarrow as pa
import pyarrow.parquet as pq

from primitives import Bad

TIME = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(18, 9)
RECORD = [
    ("seq", pa.uint64()), ("recorded_at", TIME), ("event_id", pa.binary(16)),
    ("payload", pa.binary()), ("payload_digest", pa.binary(32)), ("link", pa.binary(32)),
    ("submission_hash", pa.binary(32)), ("submission_index", pa.uint16()),
    ("submission_count", pa.uint16()), ("counter", pa.uint64()), ("public_key", pa.binary(32)),
    ("signature", pa.binary(64)),
]
DERIVED = [
    ("event_type", pa.string()), ("occurred_at", TIME), ("session_id", pa.string()),
    ("actor_id", pa.string()), ("source", pa.string()), ("model", pa.string()),
    ("provider", pa.string()), ("input_tokens", pa.int64()), ("output_tokens", pa.int64()),
    ("latency_ms", pa.int64()), ("success", pa.bool_()), ("error_type", pa.string()),
    ("prompt_hash", pa.string()), ("tool_name", pa.string()), ("status", pa.string()),
    ("unit_cost_input", MONEY), ("unit_cost_output", MONEY), ("trace_id", pa.string()),
    ("span_id", pa.string()), ("agent_version", pa.string()), ("on_behalf_of", pa.string()),
    ("parent_event_id", pa.binary(16)),
]


def read_rows(key, data, origin, workspace):
    """The rows of a Parquet object, times as microseconds."""
    try:
        # On this thread alone: one that still reads when the interpreter ends takes it down.
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
        table = file.read(use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Bad(f"{key}: not a Parquet file: {error}") from error
    found = [(field.name, field.type) for field in table.schema]
    if found != RECORD + DERIVED:
        raise Bad(f"{key}: the columns are {found}")
    wanted = {"tallystick.format": "1", "tallystick.origin": origin,
              "tallystick.workspace": workspace}
    metadata = table.schema.metadata or {}
    for name, value in wanted.items():
        if metadata.get(name.encode()) != value.encode():
            raise Bad(f"{key}: file metadata {name} is not {value}")
    for name, _ in RECORD + DERIVED[:2]:
        if name != "payload" and table[name].null_count:
            raise Bad(f"{key}: column {name} holds a null")
    for name in ("recorded_at", "occurred_at"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.int64()))
    return table.to_pylist()
