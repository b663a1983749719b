"""Writes small archives with every key in hand, honest ones and forged ones, for the tests.

An operator who holds the seal key can sign whatever he likes: so a forged archive is written by
the same code as an honest one, from rows that were changed before they were linked and sealed.
"""

import base64
import json
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import primitives as p
from archive import tile_path
from notes import hour_path, note_of_hour
from payload import Refused, check
from rows import DERIVED, RECORD

START = 1_795_446_000_000_000  # 2026-11-23T15:00:00Z
ORIGIN = "ledger.example.com/forge"


class Key:
    """A key pair of a fixed seed, so that the same test writes the same bytes."""

    def __init__(self, name):
        self.private = Ed25519PrivateKey.from_private_bytes(p.sha(name.encode()))
        self.public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.text = p.key_text(self.public)

    def sign(self, message):
        return self.private.sign(message)


SEAL, RECEIPT = Key("seal"), Key("receipt")


class Forge:
    def __init__(self):
        self.rows = {}  # workspace -> rows in order
        self.events = 0
        self.notes = []
        self.skip_hours = set()
        self.split_at = {}  # workspace -> seqs that begin a new chunk
        self.hide = set()  # workspaces left out of the heads of an hour note
        self.seal_key = SEAL  # in force
        self.changes = {}  # leaf -> (body of a note about seal keys, who signs it, who is next)
        self.leaf_keys = {}  # leaf -> who signs it, where that is not the key in force
        self.checkpoint_key = None  # likewise
        self.late = []  # what is done once all is sealed, each with this forge
        self.amend_late = False  # whether payloads are erased only after that
        self.move_last = None  # where in the log its last leaf stands

    # Recording -------------------------------------------------------------------------------

    def event(self, workspace, kind="business_event", **members):
        self.events += 1
        return json.dumps({
            "event_id": str(uuid.UUID(int=self.events)), "event_type": kind,
            "occurred_at": "2026-11-23T15:00:00Z", "workspace_id": workspace, **members,
        }).encode()

    def submit(self, workspace, key, at, *payloads, counter=0):
        digests = [p.sha(payload) for payload in payloads]
        text = p.statement(ORIGIN, workspace, counter, digests)
        signature = key.sign(text)
        rows = self.rows.setdefault(workspace, [])
        for index, payload in enumerate(payloads):
            rows.append({
                "recorded_at": START + at, "payload": payload, "payload_digest": digests[index],
                "event_id": uuid.UUID(json.loads(payload)["event_id"]).bytes,
                "submission_hash": p.submission_hash(key.public, signature, text),
                "submission_index": index, "submission_count": len(payloads), "counter": counter,
                "public_key": key.public, "signature": signature,
            })
        return rows[-1]

    def create(self, workspace, *roots, at=0):
        context = {"root_keys": [key.text for key in roots]}
        return self.submit(workspace, roots[0], at,
                           self.event(workspace, "ledger.workspace_created", context=context))

    def ledger(self, workspace, kind, root, at, **context):
        return self.submit(workspace, root, at,
                           self.event(workspace, f"ledger.{kind}", context=context))

    # Sealing ---------------------------------------------------------------------------------

    def seal(self, directory):
        self.directory = Path(directory)
        hours, last_manifest, amendments = self.link(), {}, []
        self.heads, self.previous = {}, p.ZERO
        for hour in range(min(hours), max(hours) + p.HOUR, p.HOUR):
            chunks = 0
            for workspace, parts in sorted(hours.get(hour, {}).items()):
                for part, rows in enumerate(parts):
                    note = self.chunk(workspace, hour, part, rows, last_manifest, p.ZERO, 0)
                    last_manifest[workspace] = p.sha(note).hex()
                    if any(row.get("erase") for row in rows):
                        amendments.append((workspace, hour, part, rows, note))
                    head = f"{workspace} {rows[-1]['seq']} {rows[-1]['link'].hex()}\n"
                    self.heads[workspace] = head
                    chunks += 1
            if hour not in self.skip_hours:
                self.close(hour, chunks)
        for step in (self.later, self.amend_all)[::1 if self.amend_late else -1]:
            step(amendments)
        self.publish()

    def close(self, hour, chunks=0):
        names = [name for name in sorted(self.heads) if name not in self.hide]
        lines = [self.heads[name].encode() for name in names]
        root = p.root([p.leaf_hash(line) for line in lines]).hex()
        text = note_of_hour(ORIGIN, hour, chunks, len(lines), root, self.previous)
        note = self.log(text, f"hours/{hour_path(hour)}.note")
        self.put(f"hours/{hour_path(hour)}.heads", b"".join(lines))
        self.previous, self.last_hour = p.sha(note).hex(), hour

    def later(self, _):
        for step in self.late:
            step(self)

    def quiet(self, hours):
        """So many hours without an event."""
        for _ in range(hours):
            self.close(self.last_hour + p.HOUR)

    def prune(self, workspace, first, last, /, logged=True, removed=True, change=str, **lies):
        """Logs that retention removes these chunks, and removes their objects."""
        named = {}  # the newest note of each range
        for note in self.notes:
            if note.startswith(f"tallystick/chunk/v1\norigin {ORIGIN}\nworkspace {workspace}\n"
                               .encode()):
                seq = int(line_of(note, "first_seq"))
                if first <= seq <= last:
                    named[seq] = note
        notes = [note for _, note in sorted(named.items())]
        lines = {
            "origin": ORIGIN, "workspace": workspace, "first_seq": first, "last_seq": last,
            "chunks": len(notes),
            "manifests_root": p.root([p.leaf_hash(p.sha(note)) for note in notes]).hex(),
            "last_recorded_at": line_of(notes[-1], "last_recorded_at"), "keep_days": 0,
            "reason": "as long as we say", "policy_sha256": p.sha(b"a policy").hex(),
        } | lies
        text = "".join(f"{name} {value}\n" for name, value in lines.items())
        if logged:
            self.log(change(f"tallystick/prune/v1\n{text}"))
        for note in notes if removed else ():
            (self.directory / line_of(note, "object")).unlink(missing_ok=True)

    def amend_all(self, amendments):
        for amendment in amendments:
            self.amend(*amendment)

    def amend(self, workspace, hour, part, rows, note):
        """Writes the chunk again without the payloads that are erased."""
        text = note.decode()
        before = {workspace: text.split("prev_manifest ", 1)[1][:64]}
        for row in rows:
            if row.pop("erase", False):
                row["payload"] = None
        self.chunk(workspace, hour, part, rows, before, p.sha(note).hex(), 1)
        (self.directory / line_of(note, "object")).unlink(missing_ok=self.amend_late)

    def link(self):
        """Numbers and links every row; groups them as hour -> workspace -> parts."""
        hours = {}
        for workspace, rows in self.rows.items():
            link = p.genesis_link(ORIGIN, workspace)
            for seq, row in enumerate(rows, 1):
                row.setdefault("seq", seq)
                row["prev_link"] = link
                row["leaf"] = p.leaf_hash(p.entry(
                    row["seq"], row["recorded_at"], row["event_id"], row["payload_digest"],
                    row["submission_hash"], row["submission_index"], row["submission_count"]))
                link = row["link"] = p.next_link(link, row["leaf"])
                hour = row.get("hour", row["recorded_at"] // p.HOUR * p.HOUR)
                parts = hours.setdefault(hour, {}).setdefault(workspace, [])
                if not parts or row["seq"] in self.split_at.get(workspace, ()):
                    parts.append([])
                parts[-1].append(row)
        return hours

    def chunk(self, workspace, hour, part, rows, before, amends, edit):
        path = (f"workspace={workspace}/{hour_path(hour)}/"
                f"{rows[0]['seq']:020}-{rows[-1]['seq']:020}" + (f".e{edit}" if edit else ""))
        data = parquet(workspace, rows)
        self.put(f"events/{path}.parquet", data)
        return self.log("\n".join([
            "tallystick/chunk/v1", f"origin {ORIGIN}", f"workspace {workspace}",
            f"hour {p.hour_text(hour)}", f"part {part}", f"first_seq {rows[0]['seq']}",
            f"last_seq {rows[-1]['seq']}", f"prev_link {rows[0]['prev_link'].hex()}",
            f"last_link {rows[-1]['link'].hex()}",
            f"root {p.root([row['leaf'] for row in rows]).hex()}",
            f"first_recorded_at {p.time_text(rows[0]['recorded_at'])}",
            f"last_recorded_at {p.time_text(rows[-1]['recorded_at'])}",
            f"prev_manifest {before.get(workspace, p.ZERO)}", f"amends {amends}",
            f"object events/{path}.parquet", f"object_bytes {len(data)}",
            f"object_sha256 {p.sha(data).hex()}", f"object_blake3 {blake3(data).hexdigest()}", "",
        ]), f"manifests/{path}.note")

    def log(self, text, key=None):
        self.change_keys()
        note = sign_note(text, self.leaf_keys.get(len(self.notes), self.seal_key))
        self.notes.append(note)
        if key:
            self.put(key, note)
        return note

    def change_keys(self):
        while len(self.notes) in self.changes:
            body, signers, self.seal_key = self.changes.pop(len(self.notes))
            self.notes.append(sign_note(body(self), *signers))

    def root(self, size=None):
        """The root of the log's first leaves."""
        return p.root([p.leaf_hash(note) for note in self.notes[:size]]).hex()

    def publish(self):
        self.change_keys()
        if self.move_last is not None:
            self.notes.insert(self.move_last, self.notes.pop())
        hashes = [p.leaf_hash(note) for note in self.notes]
        entries = b"".join(len(note).to_bytes(2, "big") + note for note in self.notes)
        self.put(tile_path("entries", 0, len(hashes)), entries)
        self.put(tile_path("0", 0, len(hashes)), b"".join(hashes))
        root = base64.b64encode(p.root(hashes)).decode()
        self.put("log/checkpoint", sign_note(
            f"{ORIGIN}\n{len(hashes)}\n{root}\n", self.checkpoint_key or self.seal_key))

    def put(self, key, data):
        path = self.directory / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def line_of(note, name):
    """The value of a line of a note."""
    return note.decode().split(f"\n{name} ", 1)[1].split("\n", 1)[0]


def sign_note(text, *keys):
    lines = ""
    for key in keys:
        raw = p.key_id(ORIGIN, key.public) + key.sign(text.encode())
        lines += f"— {ORIGIN} {base64.b64encode(raw).decode()}\n"
    return f"{text}\n{lines}".encode()


def vkey(key):
    return p.vkey_text(ORIGIN, key.public)


def succession(old, new):
    return "\n".join(["tallystick/succession/v1", f"origin {ORIGIN}", f"old_key {vkey(old)}",
                      f"new_key {vkey(new)}", "reason yearly", ""])


def revocation(key, size, root, new):
    return "\n".join(["tallystick/revocation/v1", f"origin {ORIGIN}", f"key {vkey(key)}",
                      f"size {size}", f"root {root}", f"new_key {vkey(new)}", "reason stolen", ""])


def trust(**workspaces):
    """A trust file's values: workspace -> its root keys."""
    return {
        "origin": ORIGIN,
        "seal_keys": [p.vkey_text(ORIGIN, SEAL.public)],
        "receipt_keys": [p.vkey_text(ORIGIN + "/receipt", RECEIPT.public)],
        "workspaces": {name: {"root_keys": [key.text for key in keys]}
                       for name, keys in workspaces.items()},
    }


def parquet(workspace, rows):
    columns = {name: [row[name] for row in rows] for name, _ in RECORD}
    derived = [derive(workspace, row) | row.get("lie", {}) for row in rows]
    columns |= {name: [row.get(name) for row in derived] for name, _ in DERIVED}
    schema = pa.schema([pa.field(name, kind) for name, kind in RECORD + DERIVED], metadata={
        "tallystick.format": "1", "tallystick.origin": ORIGIN,
        "tallystick.workspace": workspace,
    })
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def derive(workspace, row):
    """What an honest archiver would put beside the payload, and what a liar would."""
    if row["payload"] is None:
        return {"event_type": "ledger.erased", "occurred_at": row["recorded_at"]}
    try:
        return check(row["payload"], workspace)[0]
    except Refused:
        return {"event_type": "business_event", "occurred_at": row["recorded_at"]}
