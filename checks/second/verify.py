"""A second verifier: walks an archive from its checkpoint to each payload.

    python verify.py ARCHIVE_DIRECTORY TRUST_FILE [MIN_KEPT_DAYS]

Prints one line of JSON and exits 0 when every check holds; prints the first discrepancy and exits
1 when one does not; exits 2 for a trust file that cannot be used. Written from the text of the
format (docs/spec/), with pyarrow, hashlib, blake3 and cryptography: it shares no code with the
ledger, so that a mistake in the one is not repeated in the other. It reads chunk after chunk and
keeps no payloads.
"""

import base64
import json
import re
import sys
import tomllib
from pathlib import Path

from blake3 import blake3

import primitives as p
from archive import TILE_WIDTH, Archive, split_bundle, tile_path
from keys import Keys
from notes import Manifest, hour_path, note_of_hour
from payload import I64_MAX, Refused, check
from primitives import Bad
from prune import MIN_KEPT_DAYS, PRUNE, Record
from rollup import DAY, ROLLUP, UNLOGGED, Rollup, Rollups
from rows import DERIVED, read_rows
from seal import LINES, Line

SUBMISSION_EVENTS_CEILING = 1_000
PREFIXES = ("log/", "hours/", "manifests/", "events/", "rollups/")

HOUR_LINES = ["origin", "hour", "chunks", "workspaces", "heads_root", "prev_hour"]


class Workspace:
    """What the log and the rows have said of one workspace so far."""

    def __init__(self, name, origin):
        self.name = name
        self.manifests = []  # the one in force of each chunk
        self.by_hash = {}  # note hash in force -> index into manifests
        self.last_original = p.ZERO
        self.link = p.genesis_link(origin, name)
        self.keys = Keys(name)
        self.recorded_at = 0
        self.event_ids = {}
        self.custodian_events = 0
        self.withheld = {}  # event_id -> seq of its null payload
        self.erasures = {}  # event_id -> newest seq that allows it to be withheld
        self.counters = {}
        self.lowest = {}  # key -> lowest counter behind the last pruned chunk
        self.pruned = {"chunks": 0, "events": 0}

    def head(self):
        last = self.manifests[-1]
        return f"{self.name} {last.last_seq} {last.last_link}\n"


class Audit:
    def __init__(self, archive, trust, min_kept_days=MIN_KEPT_DAYS):
        self.archive = archive
        self.origin = trust["origin"]
        if not p.is_origin(self.origin):
            raise Bad(f"trust: {self.origin!r} is not an origin")
        self.seal_keys = [p.vkey_of(text) for text in trust["seal_keys"]]
        if not self.seal_keys or any(name != self.origin for name, _ in self.seal_keys):
            raise Bad(f"trust: seal_keys holds none, or one of another name than {self.origin}")
        revoked = [(p.vkey_of(entry["key"]), entry["size"], entry["root"])
                   for entry in trust.get("revoked", [])]
        if any(name != self.origin for (name, _), _, _ in revoked):
            raise Bad("trust: revoked holds a key of another name")
        self.line = Line(self.origin, self.seal_keys, revoked)
        self.trusted = trust.get("workspaces", {})
        self.workspaces = {}
        self.hour, self.prev_hour = None, p.ZERO
        self.in_hour = []  # original manifests since the last hour note
        self.chunks = self.hours = 0
        self.superseded = []
        self.min_kept_days, self.pruned_early = min_kept_days, []
        self.rollups = Rollups()

    def run(self):
        leaves, checkpoint = self.read_log()
        texts = self.line.follow(leaves)
        self.rests_on_revoked = self.line.judge(checkpoint, "log/checkpoint")
        for index, (leaf, text) in enumerate(zip(leaves, texts, strict=True)):
            self.take_leaf(index, leaf, text)
        for workspace in self.workspaces.values():
            for manifest in workspace.manifests:
                if manifest.pruned:
                    self.pass_over(workspace, manifest)
                else:
                    self.check_chunk(workspace, manifest)
            self.check_withheld(workspace)
        self.rollups_unchecked = self.rollups.check(self.archive, self.workspaces)
        for manifest in self.superseded:
            if self.archive.has(manifest.object):
                self.read_object(manifest)
        for name in self.trusted:
            if name not in self.workspaces:
                raise Bad(f"workspace {name}: in the trust file, not in the archive")
        unlogged = self.check_unknown()
        return self.summary(unlogged)

    # The log ---------------------------------------------------------------------------------

    def read_log(self):
        where = "log/checkpoint"
        checkpoint = p.read_note(self.archive.read(where), where)
        lines = checkpoint.text[:-1].split("\n")
        if len(lines) != 3 or lines[0] != self.origin:
            raise Bad(f"{where}: not a checkpoint of {self.origin}")
        self.log_size = size = p.number(lines[1], where)
        leaves = []
        for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            leaves += self.read_bundle(index, min(TILE_WIDTH, size - index * TILE_WIDTH))
        hashes = [p.leaf_hash(leaf) for leaf in leaves]
        if base64.b64encode(p.root(hashes)).decode() != lines[2]:
            raise Bad(f"{where}: the log's entries have another root")
        self.check_tiles(hashes)
        return leaves, checkpoint

    def read_bundle(self, index, width):
        key = tile_path("entries", index, width)
        return split_bundle(key, self.archive.read(key), width)

    def check_tiles(self, hashes):
        level = 0
        while hashes:
            for index in range((len(hashes) + TILE_WIDTH - 1) // TILE_WIDTH):
                part = hashes[index * TILE_WIDTH:(index + 1) * TILE_WIDTH]
                key = tile_path(str(level), index, len(part))
                if self.archive.read(key) != b"".join(part):
                    raise Bad(f"{key}: not the hashes of the log's entries")
            full = len(hashes) // TILE_WIDTH
            hashes = [p.root(hashes[i * TILE_WIDTH:(i + 1) * TILE_WIDTH]) for i in range(full)]
            level += 1

    def take_leaf(self, index, leaf, text):
        where = f"log leaf {index}"
        kind = text.split("\n", 1)[0]
        if kind == "tallystick/chunk/v1":
            self.take_manifest(where, text, leaf, index)
        elif kind == "tallystick/hour/v1":
            self.take_hour(where, text, leaf)
        elif kind == PRUNE:
            self.take_prune(where, text)
        elif kind == ROLLUP:
            rollup = Rollup(text, self.origin, where)
            self.rollups.take(rollup, leaf, self.workspaces.get(rollup.workspace), self.archive)
        elif kind not in LINES:
            raise Bad(f"{where}: {kind!r} is a kind that this verifier does not know")

    def take_manifest(self, where, text, leaf, index):
        manifest = Manifest(text, self.origin, where)
        manifest.leaf = index
        manifest.note, digest = p.sha(leaf), p.sha(leaf).hex()
        workspace = self.workspaces.setdefault(
            manifest.workspace, Workspace(manifest.workspace, self.origin))
        if manifest.amends != p.ZERO:
            at = workspace.by_hash.pop(manifest.amends, None)
            if at is None:
                raise Bad(f"{where}: amends a note that is not in force")
            if workspace.manifests[at].pruned:
                raise Bad(f"{where}: amends a chunk that was pruned")
            self.superseded.append(workspace.manifests[at])
            manifest.amend(workspace.manifests[at])
            workspace.manifests[at] = manifest
        else:
            at = len(workspace.manifests)
            self.follow(workspace, manifest)
            workspace.manifests.append(manifest)
            workspace.last_original = digest
            self.in_hour.append(manifest)
            self.chunks += 1
        workspace.by_hash[digest] = at
        if self.archive.read(manifest.copy()) != leaf:
            raise Bad(f"{manifest.copy()}: not the note of {where}")

    def follow(self, workspace, manifest):
        """The chunk starts where the workspace's chunk before ends."""
        where, before = manifest.where, workspace.manifests[-1] if workspace.manifests else None
        if manifest.first_seq != (before.last_seq + 1 if before else 1):
            raise Bad(f"{where}: first_seq {manifest.first_seq} does not follow")
        if manifest.prev_link != (before.last_link if before else workspace.link.hex()):
            raise Bad(f"{where}: prev_link is not where the chain stood")
        if manifest.prev_manifest != workspace.last_original:
            raise Bad(f"{where}: prev_manifest is not the manifest before")
        if before and manifest.first_recorded_at < before.last_recorded_at:
            raise Bad(f"{where}: recorded_at falls")
        part = before.part + 1 if before and before.hour == manifest.hour else 0
        if manifest.part != part:
            raise Bad(f"{where}: part {manifest.part}, not {part}")
        if manifest.hour != self.open_hour(manifest.hour):
            raise Bad(f"{where}: logged outside its hour")

    def open_hour(self, first):
        """The hour whose note comes next; `first` where the ledger has no entry yet."""
        if self.hour is not None:
            return self.hour + p.HOUR
        return self.in_hour[0].hour if self.in_hour else first

    def take_hour(self, where, text, leaf):
        values = p.fields(text, "tallystick/hour/v1", HOUR_LINES, where)
        hour = p.exact_hour(values["hour"], where)
        if self.hour is None and not self.in_hour:
            raise Bad(f"{where}: an hour note before the ledger's first entry")
        if hour != self.open_hour(hour):
            raise Bad(f"{where}: hour {values['hour']} does not follow")
        names = sorted(self.workspaces)
        heads = [self.workspaces[name].head().encode() for name in names]
        heads_root = p.root([p.leaf_hash(head) for head in heads]).hex()
        wanted = note_of_hour(self.origin, hour, len(self.in_hour), len(heads), heads_root,
                              self.prev_hour)
        if text != wanted:
            raise Bad(f"{where}: expected {wanted!r}, found {text!r}")
        for ending, content in (("note", leaf), ("heads", b"".join(heads))):
            key = f"hours/{hour_path(hour)}.{ending}"
            if self.archive.read(key) != content:
                raise Bad(f"{key}: differs from the log")
        self.hour, self.prev_hour, self.in_hour = hour, p.sha(leaf).hex(), []
        self.hours += 1

    def take_prune(self, where, text):
        record = Record(text, self.origin, where)
        workspace = self.workspaces.get(record.workspace)
        for manifest in record.chunks_of(workspace.manifests if workspace else [], self.hour):
            manifest.pruned = True
        early = record.early(self.hour, self.min_kept_days)
        self.pruned_early += [early] if early else []

    # Chunks ----------------------------------------------------------------------------------

    def read_object(self, manifest):
        data, key = self.archive.read(manifest.object), manifest.object
        if len(data) != manifest.object_bytes:
            raise Bad(f"{key}: {len(data)} bytes, not {manifest.object_bytes}")
        if p.sha(data).hex() != manifest.object_sha256:
            raise Bad(f"{key}: another SHA-256 than the manifest states")
        if blake3(data).hexdigest() != manifest.object_blake3:
            raise Bad(f"{key}: another BLAKE3 than the manifest states")
        return data

    def pass_over(self, workspace, manifest):
        """A chunk that retention has removed: what still lies there is as it was, and the chain goes
        on behind it."""
        if self.archive.has(manifest.object):
            self.read_object(manifest)
        workspace.link = bytes.fromhex(manifest.last_link)
        workspace.recorded_at = manifest.last_recorded_at
        workspace.pruned["chunks"] += 1
        workspace.pruned["events"] += manifest.last_seq - manifest.first_seq + 1
        workspace.lowest = {}

    def check_chunk(self, workspace, manifest):
        key = manifest.object
        rows = read_rows(key, self.read_object(manifest), self.origin, workspace.name)
        manifest.days = {row["occurred_at"] // DAY for row in rows}
        manifest.days_kept = {row["occurred_at"] // DAY for row in rows if row["payload"] is not None}
        if len(rows) != manifest.last_seq - manifest.first_seq + 1:
            raise Bad(f"{key}: {len(rows)} rows")
        leaves, at = [], 0
        while at < len(rows):
            count = rows[at]["submission_count"]
            if not 1 <= count <= SUBMISSION_EVENTS_CEILING or at + count > len(rows):
                raise Bad(f"{key}: seq {rows[at]['seq']}: a submission of {count} rows is cut")
            leaves += self.check_submission(workspace, manifest, rows[at:at + count],
                                            manifest.first_seq + at)
            at += count
        times = rows[0]["recorded_at"], rows[-1]["recorded_at"]
        if times != (manifest.first_recorded_at, manifest.last_recorded_at):
            raise Bad(f"{key}: the rows' times are not those of the manifest")
        if workspace.link.hex() != manifest.last_link:
            raise Bad(f"{key}: the rows end with another link")
        if p.root(leaves).hex() != manifest.root:
            raise Bad(f"{key}: the rows have another Merkle root")

    def check_submission(self, workspace, manifest, rows, seq):
        first, leaves, events = rows[0], [], []
        shared = ("recorded_at", "submission_hash", "submission_count", "counter", "public_key",
                  "signature")
        for index, row in enumerate(rows):
            where = f"{manifest.object}: seq {seq + index}"
            if row["seq"] != seq + index:
                raise Bad(f"{where}: found seq {row['seq']}")
            if row["submission_index"] != index or any(row[c] != first[c] for c in shared):
                raise Bad(f"{where}: the rows of its submission disagree")
            if not manifest.hour <= row["recorded_at"] < manifest.hour + p.HOUR \
                    or row["recorded_at"] < workspace.recorded_at:
                raise Bad(f"{where}: recorded_at falls, or lies outside its hour")
            workspace.recorded_at = row["recorded_at"]
            if workspace.event_ids.setdefault(row["event_id"], seq + index) != seq + index:
                raise Bad(f"{where}: event_id recorded twice")
            events.append(self.check_event(workspace, row, where))
            leaf = p.leaf_hash(p.entry(row["seq"], row["recorded_at"], row["event_id"],
                                       row["payload_digest"], row["submission_hash"], index,
                                       len(rows)))
            workspace.link = p.next_link(workspace.link, leaf)
            if workspace.link != row["link"]:
                raise Bad(f"{where}: link does not follow")
            leaves.append(leaf)
        self.check_signature(workspace, first, rows, f"{manifest.object}: seq {seq}")
        self.check_keys(workspace, first, events, seq, f"{manifest.object}: seq {seq}")
        return leaves

    def check_event(self, workspace, row, where):
        """(columns, context) of the payload, or None where it is withheld."""
        payload = row["payload"]
        if payload is None:
            workspace.withheld[row["event_id"]] = row["seq"]
            columns = {"event_type": "ledger.erased", "occurred_at": row["recorded_at"]}
            event = None
        else:
            if p.sha(payload) != row["payload_digest"]:
                raise Bad(f"{where}: payload_digest is not that of the payload")
            try:
                columns, context = check(payload, workspace.name)
            except Refused as error:
                raise Bad(f"{where}: payload: {error}") from error
            if columns["event_id"] != row["event_id"]:
                raise Bad(f"{where}: event_id is not that of the payload")
            event = columns, context
        for name, _ in DERIVED:
            if row[name] != columns.get(name):
                raise Bad(f"{where}: column {name}: expected {columns.get(name)!r}, "
                          f"found {row[name]!r}")
        return event

    def check_signature(self, workspace, first, rows, where):
        key = first["public_key"]
        if p.refused_key(key):
            raise Bad(f"{where}: public key: {p.refused_key(key)}")
        text = p.statement(self.origin, workspace.name, first["counter"],
                           [row["payload_digest"] for row in rows])
        if not p.verify(key, first["signature"], text):
            raise Bad(f"{where}: the submission's signature does not verify")
        if p.submission_hash(key, first["signature"], text) != first["submission_hash"]:
            raise Bad(f"{where}: submission_hash is not that of the statement")

    def check_keys(self, workspace, first, events, seq, where):
        key = first["public_key"]
        try:
            pinned = self.trusted.get(workspace.name, {}).get("root_keys")
            role = workspace.keys.take(seq, key, events, pinned)
        except Refused as error:
            raise Bad(f"{where}: {error}") from error
        if role == "custodian":
            workspace.custodian_events += len(events)
        counter = first["counter"]
        if counter > I64_MAX:
            raise Bad(f"{where}: counter {counter}")
        seen = workspace.counters.setdefault(key, set())
        if counter and counter in seen:
            raise Bad(f"{where}: counter {counter} used twice by {p.key_text(key)}")
        if counter:
            seen.add(counter)
            workspace.lowest[key] = min(counter, workspace.lowest.get(key, counter))
        for event_id in workspace.keys.erased:
            workspace.erasures[event_id] = seq
        workspace.keys.erased = []

    def check_withheld(self, workspace):
        for event_id, seq in workspace.withheld.items():
            if workspace.erasures.get(event_id, 0) <= seq:
                raise Bad(f"workspace {workspace.name}: seq {seq}: the payload is withheld, and no "
                          f"later event allows it")

    # What is left -----------------------------------------------------------------------------

    def check_unknown(self):
        """Every object is named by the log, but those that an archiver is still writing."""
        unlogged = []
        for key in self.archive.keys():
            if key in self.archive.asked or not key.startswith(PREFIXES):
                continue
            if self.of_open_hour(key) or self.beyond_log(key) or self.may_amend(key) \
                    or UNLOGGED.fullmatch(key):
                unlogged.append(key)
            elif not self.older_tile(key):
                raise Bad(f"{key}: nothing in the log names it")
        return unlogged

    def older_tile(self, key):
        """A partial tile that has since given way must still be the start of what replaced it."""
        match = re.fullmatch(r"(log/tile/[0-9a-z/]+)\.p/([0-9]+)", key)
        if not match or not 0 < int(match[2]) < TILE_WIDTH:
            return False
        newer = [k for k in self.archive.asked
                 if k == match[1] or k.startswith(match[1] + ".p/")]
        if not newer:
            return False
        data, whole = self.archive.read(key), self.archive.read(newer[0])
        if "/entries/" in key:
            split_bundle(key, data, int(match[2]))
        elif len(data) != 32 * int(match[2]):
            raise Bad(f"{key}: cut off")
        return len(data) < len(whole) and whole.startswith(data)

    def of_open_hour(self, key):
        match = re.fullmatch(r"(?:hours|(?:events|manifests)/workspace=[^/]+)/date=([0-9-]{10})/"
                             r"hour=([0-9]{2})(?:/[0-9]{20}-[0-9]{20}\.(?:parquet|note)"
                             r"|\.note|\.heads)", key)
        if not match:
            return False
        last = p.hour_text(self.hour)[:13] if self.hour is not None else ""
        return f"{match[1]}T{match[2]}" > last

    def may_amend(self, key):
        """An amendment's objects are written before the log names them."""
        match = re.fullmatch(r"(?:events|manifests)/(workspace=([^/]+)/date=[0-9-]{10}/hour=[0-9]{2}/"
                             r"[0-9]{20}-[0-9]{20})\.e([1-9][0-9]*)\.(parquet|note)", key)
        if not match or key.startswith("events/") != (match[4] == "parquet"):
            return False
        workspace = self.workspaces.get(match[2])
        return any(manifest.stem() == match[1] and int(match[3]) > manifest.amendment
                   for manifest in (workspace.manifests if workspace else ()))

    def beyond_log(self, key):
        """Tiles are written before the checkpoint that covers them."""
        match = re.fullmatch(r"log/tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]+))?",
                             key)
        if not match:
            return False
        level = 0 if match[1] == "entries" else int(match[1])
        index = int(re.sub("[x/]", "", match[2]))
        width = int(match[3] or TILE_WIDTH)
        held = self.log_size >> 8 * level
        return 0 < width <= TILE_WIDTH and index * TILE_WIDTH + width > held

    def summary(self, unlogged):
        return {
            "verdict": "intact",
            "origin": self.origin,
            "log_size": self.log_size,
            "seal_keys": [p.vkey_text(*key) for key, _, _ in self.line.terms],
            "rests_on_revoked": self.rests_on_revoked,
            "hours": self.hours,
            "last_hour": p.hour_text(self.hour) if self.hour is not None else None,
            "chunks": self.chunks,
            "events": sum(w.manifests[-1].last_seq - w.pruned["events"]
                          for w in self.workspaces.values()),
            "pruned_early": self.pruned_early,
            "rollups": len(self.rollups.logged),
            "rollups_unchecked": self.rollups_unchecked,
            "unlogged": unlogged,
            "workspaces": {
                name: {
                    "last_seq": w.manifests[-1].last_seq,
                    "link": w.link.hex(),
                    "custodian_events": w.custodian_events,
                    "erased": len(w.withheld),
                    "pruned": w.pruned,
                    "missing_counters": missing(w),
                } for name, w in sorted(self.workspaces.items())
            },
        }


def missing(workspace):
    """The numbers that each key counted and the rows lack: where chunks were pruned, only those above
    the lowest that the key used behind them."""
    found = {}
    for key, seen in sorted(workspace.counters.items()):
        ranges = gaps(seen)
        if workspace.pruned["chunks"]:
            lowest = workspace.lowest.get(key, I64_MAX)
            ranges = [(first, last) for first, last in ranges if first > lowest]
        if ranges:
            found[p.key_text(key)] = [list(pair) for pair in ranges]
    return found


def gaps(seen):
    """The numbers missing from 1 to the highest, as [first, last] pairs."""
    found, expected = [], 1
    for counter in sorted(seen):
        if counter > expected:
            found.append([expected, counter - 1])
        expected = counter + 1
    return found


def main(arguments):
    if len(arguments) not in (2, 3) or not all(days.isdecimal() for days in arguments[2:]):
        print(__doc__, file=sys.stderr)
        return 2
    directory, trust_file, *days = arguments
    try:
        trust = tomllib.loads(Path(trust_file).read_text(encoding="utf-8"))
        audit = Audit(Archive(directory), trust, *map(int, days))
    except (OSError, ValueError, KeyError, Bad) as error:
        print(f"the trust file {trust_file} cannot be used: {error}", file=sys.stderr)
        return 2
    try:
        summary = audit.run()
    except Bad as error:
        print(json.dumps({"verdict": "broken", "finding": str(error)}, ensure_ascii=False))
        return 1
    print(json.dumps(summary, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
