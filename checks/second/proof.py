"""Checks proofs of single events, offline (docs/spec/proof.md).

    python proof.py TRUST_FILE FILE...

Prints a list of JSON objects, one a file, and exits 0 where every file proves its event, 1 where
one does not, 2 for a trust file that cannot be used.
"""

import base64
import binascii
import json
import re
import sys
import tomllib
from pathlib import Path

import primitives as p
from keys import Keys
from notes import Manifest
from payload import I64_MAX, PAYLOAD_BYTES_CEILING, Refused, check
from primitives import Bad
from seal import REVOCATION, SUCCESSION, key_note

KIND = "tallystick/proof/v1"
PROOF_BYTES = 16 << 20
SUBMISSION_EVENTS = 1_000
KEY_EVENTS = ("ledger.workspace_created", "ledger.key_registered", "ledger.key_revoked")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class Reader:
    """The lines and blocks of a proof."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def line(self, name):
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Bad(f"byte {self.at}: the file ends before {name}")
        try:
            text = self.data[self.at:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise Bad(f"byte {self.at}: not UTF-8") from error
        where, self.at = self.at, end + 1
        if not name:
            return text
        if not text.startswith(name + " "):
            raise Bad(f"byte {where}: {name} is expected")
        return text[len(name) + 1:]

    def number(self, name, most=I64_MAX):
        value = p.number(self.line(name), name)
        if value > most:
            raise Bad(f"byte {self.at}: {name} is {value}, more than {most}")
        return value

    def hashes(self, name, count):
        return [bytes.fromhex(p.hash_text(self.line(name), name)) for _ in range(count)]

    def take(self, count):
        found = self.data[self.at:self.at + count]
        if len(found) != count:
            raise Bad(f"byte {self.at}: the file ends within {count} bytes")
        self.at += count
        return found


def canonical_base64(text, what):
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Bad(f"{what}: not base64") from error
    if base64.b64encode(raw).decode() != text:
        raise Bad(f"{what}: base64 in another spelling")
    return raw


class Leaf:
    """A note, its place in the log and its path."""

    def __init__(self, reader):
        self.note = reader.take(reader.number("note", p.NOTE_BYTES))
        tlog = reader.take(reader.number("tlog-proof", p.NOTE_BYTES + 4096))
        head, gap, checkpoint = tlog.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Bad("tlog-proof: not ASCII") from error
        if not gap or lines[0] != "c2sp.org/tlog-proof@v1" or len(lines) < 2 \
                or not lines[1].startswith("index "):
            raise Bad("tlog-proof: not of its form")
        self.index = p.number(lines[1][6:], "index")
        self.path = [canonical_base64(line, "tlog-proof") for line in lines[2:]]
        if any(len(one) != 32 for one in self.path) or len(self.path) > 64:
            raise Bad("tlog-proof: not hashes")
        self.checkpoint = checkpoint
        self.where = f"log leaf {self.index}"


class Event:
    def __init__(self, reader):
        self.seq = reader.number("seq")
        self.where = f"seq {self.seq}"
        self.recorded_at = p.exact_time(reader.line("recorded_at"), "recorded_at")
        text = reader.line("event_id")
        if not UUID.fullmatch(text) or not int(text.replace("-", ""), 16):
            raise Bad(f"{self.where}: event_id {text!r}")
        self.event_id = bytes.fromhex(text.replace("-", ""))
        self.counter = reader.number("counter")
        try:
            self.key = p.key_of(reader.line("public_key"))
        except Refused as error:
            raise Bad(f"{self.where}: {error}") from error
        self.signature = canonical_base64(reader.line("signature"), "signature")
        self.index = reader.number("submission_index")
        count = reader.number("submission_count", SUBMISSION_EVENTS)
        self.digests = reader.hashes("payload_digest", count)
        if len(self.signature) != 64 or self.index >= count or self.seq == 0:
            raise Bad(f"{self.where}: signature, submission_index or seq is out of bounds")
        self.manifest = reader.number("manifest")
        self.path = reader.hashes("hash", reader.number("path", 64))
        self.payload = None
        length = reader.line("payload")
        if length != "withheld":
            self.payload = reader.take(p.number(length, "payload"))
            if len(self.payload) > PAYLOAD_BYTES_CEILING or reader.take(1) != b"\n":
                raise Bad(f"{self.where}: a payload ends with a line feed, within its bounds")


class Proof:
    """The file, read: that it holds what it should is not yet said."""

    def __init__(self, data):
        if len(data) > PROOF_BYTES:
            raise Bad("larger than a proof may be")
        reader = Reader(data)
        if reader.line("") != KIND:
            raise Bad("not a proof of an event")
        self.origin, self.workspace = reader.line("origin"), reader.line("workspace")
        if not p.is_origin(self.origin) or not p.WORKSPACE.fullmatch(self.workspace):
            raise Bad("origin or workspace is no name")
        notes, events = reader.number("notes", PROOF_BYTES), reader.number("events", PROOF_BYTES)
        self.leaves = [Leaf(reader) for _ in range(notes)]
        self.events = [Event(reader) for _ in range(events)]
        if reader.at != len(data) or not notes or not events:
            raise Bad("bytes behind the last event, or no note, or no event")
        if any(a.index >= b.index or a.checkpoint != b.checkpoint
               for a, b in zip(self.leaves, self.leaves[1:])):
            raise Bad("notes out of the log's order, or of two checkpoints")
        if any(a.seq >= b.seq for a, b in zip(self.events, self.events[1:])):
            raise Bad("events out of the chain's order")


# Trees -------------------------------------------------------------------------------------------


def climb(leaf, index, size, path):
    """(root, root of the leaves before or None), by the splits of merkle.md from the top down."""
    if size == 1:
        if path:
            raise Bad("a path that is too long")
        return leaf, None
    if not path:
        raise Bad("a path that is too short")
    k, sibling, rest = p.split(size), path[-1], path[:-1]
    if index < k:
        root, before = climb(leaf, index, k, rest)
        return p.node(root, sibling), before
    root, before = climb(leaf, index - k, size - k, rest)
    return p.node(sibling, root), sibling if before is None else p.node(sibling, before)


def climb_to(wanted, leaf, index, size, path, where):
    """The root of the leaves before, once the path leads to the root that is wanted."""
    if index >= size:
        raise Bad(f"{where}: outside a tree of {size} leaves")
    root, before = climb(leaf, index, size, path)
    if root != wanted:
        raise Bad(f"{where}: the path leads to another root")
    return before if before is not None else p.sha(b"")


# The check ---------------------------------------------------------------------------------------


class Check:
    def __init__(self, proof, trust):
        self.proof, self.trust = proof, trust
        self.origin = trust["origin"]
        self.trusted = [p.vkey_of(text) for text in trust["seal_keys"]]
        self.cutoffs = {p.vkey_of(one["key"]): (one["size"], one["root"])
                        for one in trust.get("revoked", [])}
        self.roots = {}  # number of leaves -> root of so many, as far as the paths say it

    def run(self):
        self.log()
        keys, history = Keys(self.proof.workspace), []
        for event in self.proof.events:
            role, columns, submission = self.event(event, keys)
            history.append(event.seq)
            if event is not self.proof.events[-1] \
                    and (columns is None or columns["event_type"] not in KEY_EVENTS):
                raise Bad(f"{event.where}: an event of the key history that sets no keys")
        used = {event.manifest for event in self.proof.events}
        if used != {at for at, manifest in enumerate(self.manifests) if manifest}:
            raise Bad("a manifest that is that of no event")
        return {
            "verdict": "proven",
            "seq": event.seq,
            "recorded_at": p.time_text(event.recorded_at),
            "public_key": p.key_text(event.key),
            "role": role,
            "submission": submission.hex(),
            "payload_digest": event.digests[event.index].hex(),
            "payload_shown": event.payload is not None,
            "key_history": history[:-1],
            "log_index": self.proof.leaves[event.manifest].index,
            "log_size": self.size,
            "rests_on_revoked": self.rests_on_revoked,
        }

    # The log -------------------------------------------------------------------------------------

    def log(self):
        where = "checkpoint"
        checkpoint = p.read_note(self.proof.leaves[0].checkpoint, where)
        lines = checkpoint.text[:-1].split("\n")
        if len(lines) != 3 or lines[0] != self.origin or self.proof.origin != self.origin:
            raise Bad(f"{where}: not of {self.origin}")
        self.size = p.number(lines[1], where)
        root = canonical_base64(lines[2], where)
        notes = []
        for leaf in self.proof.leaves:
            hashed = p.leaf_hash(leaf.note)
            before = climb_to(root, hashed, leaf.index, self.size, leaf.path, leaf.where)
            self.roots[leaf.index] = before.hex()
            self.roots[leaf.index + 1] = self.behind(leaf, hashed).hex()
            notes.append(p.read_note(leaf.note, leaf.where))
        self.roots[self.size] = root.hex()
        self.follow(notes)
        self.judge(checkpoint, where)
        self.manifests = [self.manifest(leaf, note)
                          for leaf, note in zip(self.proof.leaves, notes)]

    def behind(self, leaf, hashed):
        """The root of the log up to this leaf: the left siblings of its path, the smallest first, are
        the subtrees before it."""
        lefts, at, size = [], leaf.index, self.size
        for sibling in reversed(leaf.path):
            k = p.split(size)
            if at < k:
                size = k
            else:
                lefts.append(sibling)
                at, size = at - k, size - k
        # As a tree of its own: the same splits, without what stands to the right.
        return fold(lefts + [hashed], leaf.index + 1)

    def manifest(self, leaf, note):
        if note.text.split("\n", 1)[0] in (SUCCESSION, REVOCATION):
            return None
        manifest = Manifest(note.text, self.origin, leaf.where)
        if manifest.workspace != self.proof.workspace:
            raise Bad(f"{leaf.where}: a manifest of workspace {manifest.workspace}")
        return manifest

    def known(self):
        return [*self.trusted, *self.cutoffs]

    def follow(self, notes):
        """The line of keys, as the notes of the proof say it."""
        read = [key_note(note.text, self.origin, leaf.where)
                for leaf, note in zip(self.proof.leaves, notes)]
        first = next((one[1] for one in read if one), None)
        if first is None:
            signed = [key for key in self.known() if any(note.signed_by(key) for note in notes)]
            if not signed:
                raise Bad("no note is signed by a trusted key")
            first = signed[0]
        self.terms, self.stolen = [(first, 0, None)], []
        for leaf, note, one in zip(self.proof.leaves, notes, read):
            now = self.terms[-1][0]
            cutoff = self.cutoffs.get(now)
            if cutoff and cutoff[0] <= leaf.index and note.signed_by(now):
                raise Bad(f"{leaf.where}: signed by a revoked key past its cut-off")
            if one is None:
                if not note.signed_by(now):
                    raise Bad(f"{leaf.where}: not signed by the key in force")
            else:
                self.change(leaf, note, now, *one)

    def change(self, leaf, note, now, kind, old, new, values):
        where, here = leaf.where, [key for key, _, _ in self.terms]
        if kind == SUCCESSION:
            if old != now or new in here or not (note.signed_by(old) and note.signed_by(new)):
                raise Bad(f"{where}: not a succession by the key in force and a new one")
            self.terms.append((new, leaf.index + 1, kind))
            return
        cutoff = p.number(values["size"], where), p.hash_text(values["root"], where)
        if old == now:
            if new in here:
                raise Bad(f"{where}: a key comes back")
            self.terms.append((new, leaf.index, kind))
        elif old not in here or old in self.stolen or new != now:
            raise Bad(f"{where}: revokes what cannot be revoked")
        end = self.terms[[key for key, _, _ in self.terms].index(old) + 1][1]
        if cutoff != (end, self.roots[end]) or not note.signed_by(new):
            raise Bad(f"{where}: another cut-off, or not signed by the key in force behind it")
        self.stolen.append(old)

    def judge(self, checkpoint, where):
        line = [key for key, _, _ in self.terms]
        if not checkpoint.signed_by(line[-1]):
            raise Bad(f"{where}: not signed by the key in force")
        reached = [at for at, key in enumerate(line) if key in self.known()]
        if not reached:
            raise Bad(f"{where}: no trusted key is a key of the line")
        if any(kind == REVOCATION for _, _, kind in self.terms[reached[-1] + 1:]):
            raise Bad(f"{where}: only a revocation leads to its key")
        self.rests_on_revoked = [p.vkey_text(*key) for key in line[reached[-1]:-1]
                                 if key in self.stolen and key not in self.cutoffs]
        for key, (size, root) in self.cutoffs.items():
            if size > self.size:
                raise Bad(f"{where}: ends before a cut-off")
            if key in line and size not in self.roots:
                raise Bad(f"{where}: nothing shows the log up to a cut-off")
            if self.roots.get(size, root) != root:
                raise Bad(f"{where}: another log than up to a cut-off")
        for seen in self.trust.get("seen", []):
            if self.roots.get(seen["size"], seen["root"]) != seen["root"]:
                raise Bad(f"{where}: another log than was seen")

    # The events ----------------------------------------------------------------------------------

    def event(self, event, keys):
        where = event.where
        manifest = self.manifests[event.manifest] if event.manifest < len(self.manifests) else None
        if manifest is None:
            raise Bad(f"{where}: names no manifest")
        first = event.seq - event.index
        if not manifest.first_seq <= first <= first + len(event.digests) - 1 <= manifest.last_seq:
            raise Bad(f"{where}: its submission does not lie within the chunk")
        text = p.statement(self.origin, self.proof.workspace, event.counter, event.digests)
        if not p.verify(event.key, event.signature, text):
            raise Bad(f"{where}: the signature does not verify")
        submission = p.submission_hash(event.key, event.signature, text)
        entry = p.entry(event.seq, event.recorded_at, event.event_id, event.digests[event.index],
                        submission, event.index, len(event.digests))
        climb_to(bytes.fromhex(manifest.root), p.leaf_hash(entry), event.seq - manifest.first_seq,
                 manifest.last_seq - manifest.first_seq + 1, event.path, where)
        if not manifest.first_recorded_at <= event.recorded_at <= manifest.last_recorded_at:
            raise Bad(f"{where}: recorded_at lies outside the chunk")
        read = self.payload(event)
        events = [None] * len(event.digests)
        events[event.index] = read
        pinned = self.trust.get("workspaces", {}).get(self.proof.workspace, {}).get("root_keys")
        try:
            role = keys.take(first, event.key, events, pinned)
        except Refused as error:
            raise Bad(f"{where}: {error}") from error
        return role, read[0] if read else None, submission

    def payload(self, event):
        """(columns, context), or None where it is withheld."""
        if event.payload is None:
            return None
        if p.sha(event.payload) != event.digests[event.index]:
            raise Bad(f"{event.where}: payload_digest is not that of the payload")
        try:
            columns, context = check(event.payload, self.proof.workspace)
        except Refused as error:
            raise Bad(f"{event.where}: payload: {error}") from error
        if columns["event_id"] != event.event_id:
            raise Bad(f"{event.where}: event_id is not that of the payload")
        return columns, context


def fold(parts, size):
    """The root of a tree of `size` leaves from its complete subtrees, largest first, and its last leaf."""
    sizes = [1 << bit for bit in reversed(range(size.bit_length())) if (size - 1) >> bit & 1] + [1]
    stack = []
    for root, width in zip(parts, sizes, strict=True):
        stack.append((root, width))
        while len(stack) > 1 and stack[-1][1] == stack[-2][1]:
            (left, width), (right, _) = stack[-2:]
            stack[-2:] = [(p.node(left, right), 2 * width)]
    root = stack.pop()[0]
    while stack:
        root = p.node(stack.pop()[0], root)
    return root


def prove(data, trust):
    """What the bytes of a file prove."""
    return Check(Proof(data), trust).run()


def main(arguments):
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    trust_file, *files = arguments
    try:
        trust = tomllib.loads(Path(trust_file).read_text(encoding="utf-8"))
        [p.vkey_of(text) for text in trust["seal_keys"]]
        data = [Path(file).read_bytes() for file in files]
    except (OSError, ValueError, KeyError, Bad) as error:
        print(f"{trust_file} or a file cannot be used: {error}", file=sys.stderr)
        return 2
    told = []
    for one in data:
        try:
            told.append(prove(one, trust))
        except Bad as error:
            told.append({"verdict": "refused", "finding": str(error)})
    print(json.dumps(told, ensure_ascii=False))
    return 0 if all(one["verdict"] == "proven" for one in told) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
