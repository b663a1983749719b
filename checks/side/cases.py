"""What is done to both archives: each case says it in words, and does it to either side."""

import shutil
from dataclasses import dataclass
from typing import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from ours import make
from trail import Trail, digest_key, log_key, log_text, packed

MIDDLE, LAST = 1, 2  # hours of the trail
MIDDLE_NOTE = "hours/date=2026-11-23/hour=15.note"
CHUNK = ("workspace=acme/date=2026-11-23/hour=14/"
         "00000000000000000001-00000000000000000063")
CHUNK_FILE = f"events/{CHUNK}.parquet"


@dataclass
class Case:
    """One thing done. `trail` gives the objects of the bucket; `archive` changes a directory."""

    theirs: str  # what is done to the trail
    ours: str  # what is done to our archive
    who: str
    trail: Callable
    archive: Callable
    on: str = "golden"  # which of our archives


def nothing(_):
    pass


def untouched(trail):
    return trail.objects()


def flipped(data):
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


def changed(key, change):
    """The bucket with one object changed, its metadata kept."""
    def act(trail):
        objects = trail.objects()
        data, metadata = objects[key]
        return objects | {key: (change(data), metadata)}
    return act


def without(*wanted):
    """The bucket without the objects for which any of these holds."""
    def act(trail):
        return {key: value for key, value in trail.objects().items()
                if not any(test(key) for test in wanted)}
    return act


def of_hour(hour):
    logs = {log_key(*place) for place in Trail(None).logs if place[0] == hour}
    return lambda key: key in logs or key == digest_key(hour)


def file_changed(name, change):
    def act(directory):
        path = directory / name
        path.write_bytes(change(path.read_bytes()))
    return act


def file_gone(name):
    return lambda directory: (directory / name).unlink()


def hour_gone(hour):
    """All files of an hour that are not the log's."""
    def act(directory):
        for path in sorted(directory.rglob(f"*hour={hour}*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return act


def record_rewritten(directory):
    """Another payload in a chunk, by somebody who knows Parquet."""
    path = directory / CHUNK_FILE
    table = pq.ParquetFile(path).read()
    at = table.schema.get_field_index("payload")
    payloads = table.column(at).to_pylist()
    before = payloads[1]
    payloads[1] = before.replace(b"2026", b"2025")
    if payloads[1] == before:
        raise ValueError("the payload has no year to change")
    field = table.schema.field(at)
    column = pa.array(payloads, field.type)
    pq.write_table(table.set_column(at, field, column), path, compression="zstd")


def put_in_place(source):
    """Another archive in place of this one."""
    def act(directory):
        shutil.rmtree(directory)
        make(directory, **source)
    return act


def hour_in_place(hour, source):
    """The files of one hour from another archive; the log stays."""
    def act(directory):
        other = make(directory.with_name("other"), **source)
        hour_gone(hour)(directory)
        for path in other.rglob(f"*hour={hour}*/*"):
            put(path, directory / path.relative_to(other))
        for path in other.glob(f"hours/*/hour={hour}.*"):
            put(path, directory / path.relative_to(other))
        shutil.rmtree(other)
    return act


def put(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def emptied(directory):
    shutil.rmtree(directory)
    directory.mkdir()


def added(key):
    def act(directory):
        put(directory / CHUNK_FILE, directory / key)
    return act


def log_deleted_and_digest_rewritten(trail):
    """A log file and its line in the digest are gone; whoever did it has no key."""
    honest, forged = trail.objects(), log_dropped(trail)
    key = digest_key(MIDDLE)
    objects = forged | {key: (forged[key][0], honest[key][1])}
    return objects | {digest_key(LAST): honest[digest_key(LAST)]}


def log_dropped(trail):
    """AWS itself leaves out a log file, and signs that digest and those after it."""
    del trail.logs[MIDDLE, 4]
    return trail.objects()


def log_dropped_alone(trail):
    """The same, and later digests stay as they were: they state the old hash and signature."""
    honest, forged = trail.objects(), log_dropped(trail)
    del honest[log_key(MIDDLE, 4)]
    return honest | {digest_key(MIDDLE): forged[digest_key(MIDDLE)]}


def log_rewritten(trail):
    trail.logs[MIDDLE, 4] = log_text(MIDDLE, 4, event="PutObject")
    return trail.objects()


STORE, KEY = "store", "key"  # who can do it: whoever may write to the store, or signs
SOME_LOG, NEW_LOG = log_key(MIDDLE, 4), f"{log_key(MIDDLE, 4)[:-24]}ffffffffffffffff.json.gz"

CASES = [
    Case("nothing is done", "nothing is done", STORE, untouched, nothing),
    Case("a bit of a log file is flipped", "a bit of a chunk is flipped", STORE,
         changed(SOME_LOG, flipped), file_changed(CHUNK_FILE, flipped)),
    Case("a record is rewritten, its file packed anew",
         "a payload is rewritten, its chunk written anew", STORE,
         changed(SOME_LOG, lambda _: packed(log_text(MIDDLE, 4, event="PutObject"))),
         record_rewritten),
    Case("bytes are appended to a log file", "bytes are appended to a chunk", STORE,
         changed(SOME_LOG, lambda data: data + b"more"),
         file_changed(CHUNK_FILE, lambda data: data + b"more")),
    Case("bytes are appended to a digest file", "bytes are appended to an hour note", STORE,
         changed(digest_key(MIDDLE), lambda data: data + b"more"),
         file_changed(MIDDLE_NOTE, lambda data: data + b"more")),
    Case("a log file is deleted", "a chunk is deleted", STORE,
         without(lambda key: key == SOME_LOG), file_gone(CHUNK_FILE)),
    Case("a log file is deleted, and its line in the digest file",
         "a line of an hour note is changed", STORE, log_deleted_and_digest_rewritten,
         file_changed(MIDDLE_NOTE, lambda data: data.replace(b"chunks 0", b"chunks 1"))),
    Case("a gap: the digest file in the middle is deleted",
         "the hour note in the middle is deleted", STORE,
         without(lambda key: key == digest_key(MIDDLE)), file_gone(MIDDLE_NOTE)),
    Case("the first hour is deleted: digest file and log files",
         "all files of the first hour are deleted; the log stays", STORE,
         without(of_hour(0)), hour_gone(14)),
    Case("a cut tail: the newest hour is deleted, digest file and log files",
         "all files of the newest hour are deleted; the log stays", STORE,
         without(of_hour(LAST)), hour_gone(16)),
    Case("the whole store is put back to how it was an hour before",
         "the whole archive, with its log, is put back likewise", STORE,
         without(of_hour(LAST)), put_in_place({"hours": 2}), "made"),
    Case("all digest files are deleted, log files stay", "all of `log/` is deleted", STORE,
         without(lambda key: "CloudTrail-Digest" in key),
         lambda directory: shutil.rmtree(directory / "log")),
    Case("a log file is added that no digest names", "a chunk is added that nothing names", STORE,
         lambda trail: trail.objects() | {NEW_LOG: (packed(log_text(MIDDLE, 4)), {})},
         added(f"events/{CHUNK[:-1]}4.parquet")),
    Case("everything is deleted", "everything is deleted", STORE, lambda _: {}, emptied),
    Case("a log file is left out; its digest and all later ones are signed anew",
         "a submission of an agent that numbers them is left out; everything is signed anew", KEY,
         log_dropped, put_in_place({"drop": 17}), "made"),
    Case("the same",
         "a submission of an agent that does not number them is left out; everything is signed "
         "anew",
         KEY,
         log_dropped, put_in_place({"drop": 17, "counted": False}), "uncounted"),
    Case("a log file is left out; its digest alone is signed anew, the next one stays as it is",
         "a submission is left out; the hour's files are signed anew, the log stays as it is", KEY,
         log_dropped_alone, hour_in_place(16, {"drop": 17}), "made"),
    Case("a record is rewritten; its digest and all later ones are signed anew",
         "a payload is rewritten; everything is signed anew", KEY,
         log_rewritten, put_in_place({"change": 17}), "made"),
]
