"""Reads every column of an archive's chunks with DuckDB, and says how long that took.

The largest value of each column is asked for: nothing is cheaper that has to look at all values.
"""

import json
import sys
import time

import duckdb


def main() -> None:
    archive, threads = sys.argv[1], int(sys.argv[2])
    session = duckdb.connect()
    session.execute(f"SET threads = {threads}")
    files = f"read_parquet('{archive}/events/**/*.parquet', hive_partitioning = false)"
    start = time.monotonic()
    seen = session.execute(f"SELECT count(*), max(COLUMNS(*)) FROM {files}").fetchone()
    print(json.dumps({"rows": seen[0], "seconds": time.monotonic() - start}))


main()
