"""Computes the rollups of an archive by DuckDB, from the same files by the same SQL, and compares.

    rollups.py compare ARCHIVE DEFINITIONS      every newest revision in the archive, row by row
    rollups.py time ARCHIVE DEFINITIONS THREADS how long the definitions take on the days of the archive, as JSON

Only what the archive's own files say is read: the events' Parquet, the rollups' Parquet, the SQL texts.
"""

import datetime
import json
import math
import pathlib
import re
import sys
import time

import duckdb

KEY = re.compile(
    r"rollups/(?P<name>[a-z0-9_]+)/workspace=(?P<workspace>[^/]+)/date=(?P<day>[0-9-]{10})/"
    r"v(?P<version>\d+)\.r(?P<revision>\d+)-[0-9a-f]{16}\.parquet"
)
# Engines add floats in another order and divide by other means: those alone may differ, by so little.
FLOATS = {"trailing_mean", "trailing_deviation", "z_score"}
RELATIVE = 1e-12


def connect(threads=None):
    duck = duckdb.connect()
    duck.execute("SET TimeZone = 'UTC'")
    if threads:
        duck.execute(f"SET threads = {int(threads)}")
    return duck


def in_force(archive, workspace):
    """The events' objects of a workspace, of each range the newest one."""
    newest = {}
    for path in sorted((archive / "events" / f"workspace={workspace}").rglob("*.parquet")):
        stem, _, erasure = path.name.removesuffix(".parquet").partition(".e")
        kept = newest.get(stem)
        if kept is None or kept[0] < int(erasure or 0):
            newest[stem] = (int(erasure or 0), str(path))
    return [path for _, path in newest.values()]


def definition(text):
    head = dict(re.findall(r"^-- (name|version|before|after|key) (.*)$", text, re.MULTILINE))
    return {**head, "before": int(head["before"]), "after": int(head["after"]), "key": head["key"].split()}


def prepare(duck, files, day, window):
    start = int(datetime.datetime.combine(day, datetime.time(), datetime.timezone.utc).timestamp()) * 1_000_000
    span = 86_400_000_000
    duck.execute(
        f"CREATE OR REPLACE VIEW period AS SELECT DATE '{day}' AS day, "
        f"CAST({start} AS BIGINT) AS starts_us, CAST({start + span} AS BIGINT) AS ends_us"
    )
    names = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    before, after = window
    low = datetime.datetime.combine(day, datetime.time()) - datetime.timedelta(days=before)
    high = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(days=1 + after)
    # By the column itself, so that DuckDB too may pass over row groups by their statistics.
    duck.execute(
        "CREATE OR REPLACE VIEW events AS SELECT *, epoch_us(occurred_at) AS occurred_us, "
        "epoch_us(recorded_at) AS recorded_us "
        f"FROM read_parquet([{names}], hive_partitioning = false) "
        f"WHERE occurred_at >= TIMESTAMPTZ '{low}+00' AND occurred_at < TIMESTAMPTZ '{high}+00'"
    )


def same(column, ours, theirs):
    if column in FLOATS and ours is not None and theirs is not None:
        return math.isclose(ours, theirs, rel_tol=RELATIVE, abs_tol=0.0)
    return ours == theirs


def compare(archive, definitions):
    newest = {}
    for path in sorted((archive / "rollups").rglob("*.parquet")):
        found = KEY.fullmatch(str(path.relative_to(archive)))
        if not found:
            sys.exit(f"{path}: no rollup's key")
        place = found.groupdict()
        key = (place["name"], place["workspace"], place["day"])
        if key not in newest or newest[key][0] < int(place["revision"]):
            newest[key] = (int(place["revision"]), place, path)
    duck, rows, wrong = connect(), 0, []
    for _, place, path in newest.values():
        text = (definitions / f"{place['name']}.v{place['version']}.sql").read_text()
        archived = (archive / "rollups" / place["name"] / f"v{place['version']}.sql").read_text()
        if text != archived:
            sys.exit(f"{path}: the archive has another definition")
        head = definition(text)
        day = datetime.date.fromisoformat(place["day"])
        prepare(duck, in_force(archive, place["workspace"]), day, (head["before"], head["after"]))
        result = duck.execute(text)
        columns = [column[0] for column in result.description]
        theirs = result.fetchall()
        logged = duck.execute(f"SELECT * FROM read_parquet('{path}', hive_partitioning = false)")
        if [column[0] for column in logged.description] != columns:
            wrong.append(f"{path}: other columns")
            continue
        ours = logged.fetchall()
        rows += len(ours)
        if len(ours) != len(theirs):
            wrong.append(f"{path}: {len(ours)} rows, and {len(theirs)} by DuckDB")
        for our, their in zip(ours, theirs):
            for column, one, other in zip(columns, our, their):
                if not same(column, one, other):
                    wrong.append(f"{path}: {our[:4]} {column} {one!r}, and {other!r} by DuckDB")
    print(json.dumps({"rollups": len(newest), "rows": rows, "wrong": wrong[:20], "wrongs": len(wrong)}))
    sys.exit(1 if wrong else 0)


def measure(archive, definitions, threads):
    texts = [path.read_text() for path in sorted(definitions.glob("*.sql"))]
    duck = connect(threads)
    seconds, runs = 0.0, 0
    for directory in sorted((archive / "events").iterdir()):
        workspace = directory.name.removeprefix("workspace=")
        files = in_force(archive, workspace)
        days = sorted({path.name.removeprefix("date=") for path in directory.glob("date=*")})
        for day in map(datetime.date.fromisoformat, days):
            for text in texts:
                head = definition(text)
                prepare(duck, files, day, (head["before"], head["after"]))
                start = time.perf_counter()
                duck.execute(text).fetchall()
                seconds += time.perf_counter() - start
                runs += 1
    print(json.dumps({"seconds": seconds, "runs": runs}))


def main():
    match sys.argv[1:]:
        case ["compare", archive, definitions]:
            compare(pathlib.Path(archive), pathlib.Path(definitions))
        case ["time", archive, definitions, threads]:
            measure(pathlib.Path(archive), pathlib.Path(definitions), threads)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
