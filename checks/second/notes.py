"""The bodies of chunk manifests and hour notes (docs/spec/chunk.md, hour.md)."""

import re

import primitives as p
from primitives import Bad

MANIFEST_LINES = [
    "origin", "workspace", "hour", "part", "first_seq", "last_seq", "prev_link", "last_link",
    "root", "first_recorded_at", "last_recorded_at", "prev_manifest", "amends", "object",
    "object_bytes", "object_sha256", "object_blake3",
]


class Manifest:
    """A chunk manifest, its lines checked one by one."""

    def __init__(self, text, origin, where):
        values = p.fields(text, "tallystick/chunk/v1", MANIFEST_LINES, where)
        if values["origin"] != origin:
            raise Bad(f"{where}: a manifest of {values['origin']}")
        if not p.WORKSPACE.fullmatch(values["workspace"]):
            raise Bad(f"{where}: {values['workspace']!r} is not a workspace name")
        self.workspace, self.where = values["workspace"], where
        self.hour = p.exact_hour(values["hour"], where)
        for name in ("part", "first_seq", "last_seq", "object_bytes"):
            setattr(self, name, p.number(values[name], where))
        for name in ("prev_link", "last_link", "root", "prev_manifest", "amends",
                     "object_sha256", "object_blake3"):
            setattr(self, name, p.hash_text(values[name], where))
        self.first_recorded_at = p.exact_time(values["first_recorded_at"], where)
        self.last_recorded_at = p.exact_time(values["last_recorded_at"], where)
        self.object = values["object"]
        self.amendment = 0
        self.note = b""  # H of the whole note
        self.pruned = False
        self.leaf = None  # its place in the log
        self.days = set()  # of occurred_at of its rows
        if not 1 <= self.first_seq <= self.last_seq:
            raise Bad(f"{where}: seqs {self.first_seq} to {self.last_seq}")
        if not self.hour <= self.first_recorded_at <= self.last_recorded_at < self.hour + p.HOUR:
            raise Bad(f"{where}: its times do not lie in its hour")
        if self.amends != p.ZERO:
            match = re.search(r"\.e([1-9][0-9]{0,8})\.parquet$", self.object)
            self.amendment = int(match[1]) if match else 0
            if not self.amendment:
                raise Bad(f"{where}: the object of an amendment is not named .e<n>.parquet")
        if self.object != self.object_key():
            raise Bad(f"{where}: object should be {self.object_key()}")

    def _name(self, top, ending):
        edit = f".e{self.amendment}" if self.amendment else ""
        return f"{top}/{self.stem()}{edit}.{ending}"

    def stem(self):
        """What the keys of all objects of this range have in common."""
        return (f"workspace={self.workspace}/{hour_path(self.hour)}/"
                f"{self.first_seq:020}-{self.last_seq:020}")

    def object_key(self):
        return self._name("events", "parquet")

    def amend(self, older):
        """Takes the place of `older`: the same in all but its object, which is a later one."""
        same = ("workspace", "hour", "part", "first_seq", "last_seq", "prev_link", "last_link",
                "root", "first_recorded_at", "last_recorded_at", "prev_manifest")
        for name in same:
            if getattr(self, name) != getattr(older, name):
                raise Bad(f"{self.where}: amends another {name}")
        if self.amendment <= older.amendment:
            raise Bad(f"{self.where}: amends .e{older.amendment} as .e{self.amendment}")

    def copy(self):
        return self._name("manifests", "note")


def hour_path(hour):
    text = p.hour_text(hour)
    return f"date={text[:10]}/hour={text[11:13]}"


def note_of_hour(origin, hour, chunks, workspaces, heads_root, previous):
    """The text of an hour note."""
    return "\n".join([
        "tallystick/hour/v1", f"origin {origin}", f"hour {p.hour_text(hour)}", f"chunks {chunks}",
        f"workspaces {workspaces}", f"heads_root {heads_root}", f"prev_hour {previous}", "",
    ])
