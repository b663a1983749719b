"""Rollup manifests: what they state of themselves, and of the chunks that they were computed from
(docs/spec/rollups.md). Their figures are not computed here: see rollups.py."""

import datetime
import re

from blake3 import blake3

import primitives as p
from payload import MICROS
from primitives import Bad

ROLLUP = "tallystick/rollup/v1"
LINES = ["origin", "name", "version", "sql_sha256", "workspace", "period", "revision", "engine",
         "inputs", "inputs_root", "object", "object_bytes", "object_sha256", "object_blake3"]
HEAD = re.compile(r"-- tallystick/rollup-sql/v1\n-- name ([a-z][a-z0-9_]*)\n-- version ([1-9][0-9]*)\n"
                  r"-- before (0|[1-9][0-9]*)\n-- after (0|[1-9][0-9]*)\n"
                  r"-- key [a-z][a-z0-9_]*(?: [a-z][a-z0-9_]*)*\n")
# A run that died may have left it.
UNLOGGED = re.compile(r"rollups/[a-z][a-z0-9_]{0,47}/(?:v[1-9][0-9]*\.sql|workspace=[^/]+/date=[0-9-]{10}/"
                      r"v[1-9][0-9]*\.r(?:0|[1-9][0-9]*)-[0-9a-f]{16}\.(?:parquet|note))")
NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
DAY = 86_400 * MICROS
WINDOW = 366
LAST_DAY = 2_932_896


def day_text(day):
    if day > LAST_DAY:
        return "10000-01-01"
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


class Rollup:
    """A rollup manifest, its lines checked one by one."""

    def __init__(self, text, origin, where):
        values = p.fields(text, ROLLUP, LINES, where)
        if values["origin"] != origin:
            raise Bad(f"{where}: a rollup of {values['origin']}")
        self.where, self.name, self.workspace = where, values["name"], values["workspace"]
        if not NAME.fullmatch(self.name) or not p.WORKSPACE.fullmatch(self.workspace):
            raise Bad(f"{where}: not the names of a rollup and a workspace")
        for name in ("version", "revision", "inputs", "object_bytes"):
            setattr(self, name, p.number(values[name], where))
        for name in ("sql_sha256", "inputs_root", "object_sha256", "object_blake3"):
            setattr(self, name, p.hash_text(values[name], where))
        start = p.exact_hour(values["period"].split("/")[0], where)
        self.day = start // DAY
        if values["period"] != f"{day_text(self.day)}T00:00:00Z/{day_text(self.day + 1)}T00:00:00Z":
            raise Bad(f"{where}: its period is not one day")
        if not 1 <= self.version < 1 << 32 or self.revision >= 1 << 32 or not self.inputs:
            raise Bad(f"{where}: a version, revision or number of inputs that no rollup has")
        engine = values["engine"]
        if len(engine.encode()) > 1_024 or engine.strip() != engine:
            raise Bad(f"{where}: an engine that is too long, or has white space around it")
        self.object = values["object"]
        stem = (f"rollups/{self.name}/workspace={self.workspace}/date={day_text(self.day)}/"
                f"v{self.version}.r{self.revision}-{self.object_sha256[:16]}")
        if self.object != f"{stem}.parquet":
            raise Bad(f"{where}: object should be {stem}.parquet")
        self.copy, self.sql = f"{stem}.note", f"rollups/{self.name}/v{self.version}.sql"


class Rollups:
    """What the log has said of rollups so far."""

    def __init__(self):
        self.newest, self.sql, self.logged = {}, {}, []

    def take(self, rollup, leaf, workspace, archive):
        """Takes a manifest, beside the workspace as the log had it then."""
        if workspace is None:
            raise Bad(f"{rollup.where}: no chunk of its workspace stands before it")
        if self.sql.setdefault((rollup.name, rollup.version), rollup.sql_sha256) != rollup.sql_sha256:
            raise Bad(f"{rollup.where}: another definition under one version")
        series = (rollup.name, rollup.version, rollup.workspace, rollup.day)
        if rollup.revision != self.newest.get(series, -1) + 1:
            raise Bad(f"{rollup.where}: revision {rollup.revision} does not follow")
        self.newest[series] = rollup.revision
        if archive.read(rollup.copy) != leaf:
            raise Bad(f"{rollup.copy}: not the note of {rollup.where}")
        self.logged.append((rollup, list(workspace.manifests)))

    def check(self, archive, workspaces):
        """Compares objects and inputs, once the days of all rows are known. Gives how many could not be
        compared, as a chunk that may matter is gone, or was amended since with no row of these days left."""
        unchecked = 0
        for rollup, chunks in self.logged:
            self.check_object(archive, rollup)
            before, after = self.window(archive, rollup)
            window = range(max(rollup.day - before, 0), min(rollup.day + after, LAST_DAY) + 1)
            in_force = {chunk.first_seq: chunk for chunk in workspaces[rollup.workspace].manifests}
            inputs, unknown = [], False
            for chunk in chunks:
                now = in_force[chunk.first_seq]
                if now.pruned:
                    unknown = True
                elif any(day in window for day in (now.days if now is chunk else now.days_kept)):
                    inputs.append(chunk)
                elif now is not chunk:
                    unknown = True
            if unknown:
                unchecked += 1
                continue
            inputs.sort(key=lambda chunk: chunk.leaf)
            root = p.root([p.leaf_hash(chunk.note) for chunk in inputs]).hex()
            if (len(inputs), root) != (rollup.inputs, rollup.inputs_root):
                raise Bad(f"{rollup.where}: inputs should be {len(inputs)} with the root {root}")
        return unchecked

    def check_object(self, archive, rollup):
        data = archive.read(rollup.object)
        found = len(data), p.sha(data).hex(), blake3(data).hexdigest()
        if found != (rollup.object_bytes, rollup.object_sha256, rollup.object_blake3):
            raise Bad(f"{rollup.object}: another object than its manifest states")

    def window(self, archive, rollup):
        data = archive.read(rollup.sql)
        if p.sha(data).hex() != rollup.sql_sha256:
            raise Bad(f"{rollup.sql}: another text than the manifest states")
        try:
            head = HEAD.match(data.decode())
        except UnicodeDecodeError:
            raise Bad(f"{rollup.sql}: no text") from None
        if not head or (head[1], int(head[2])) != (rollup.name, rollup.version):
            raise Bad(f"{rollup.sql}: no definition of {rollup.name} version {rollup.version}")
        if max(int(head[3]), int(head[4])) > WINDOW:
            raise Bad(f"{rollup.sql}: reads more than {WINDOW} days")
        return int(head[3]), int(head[4])
