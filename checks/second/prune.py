"""Prune records: which chunks' objects retention has removed, and whether it was time
(docs/spec/retention.md)."""

import primitives as p
from payload import I64_MAX, MICROS
from primitives import Bad
from seal import check_reason

PRUNE = "tallystick/prune/v1"
LINES = ["origin", "workspace", "first_seq", "last_seq", "chunks", "manifests_root",
         "last_recorded_at", "keep_days", "reason", "policy_sha256"]
DAY = 86_400 * MICROS
MIN_KEPT_DAYS = 184


class Record:
    """A prune record, its lines checked one by one."""

    def __init__(self, text, origin, where):
        values = p.fields(text, PRUNE, LINES, where)
        if values["origin"] != origin:
            raise Bad(f"{where}: a prune record of {values['origin']}")
        if not p.WORKSPACE.fullmatch(values["workspace"]):
            raise Bad(f"{where}: {values['workspace']!r} is not a workspace name")
        self.workspace, self.where = values["workspace"], where
        for name in ("first_seq", "last_seq", "chunks", "keep_days"):
            setattr(self, name, p.number(values[name], where))
            if getattr(self, name) > I64_MAX:
                raise Bad(f"{where}: {name} is beyond 2^63-1")
        for name in ("manifests_root", "policy_sha256"):
            setattr(self, name, p.hash_text(values[name], where))
        self.last_recorded_at = p.exact_time(values["last_recorded_at"], where)
        self.reason = check_reason(values["reason"], where)
        if not 1 <= self.first_seq <= self.last_seq or not self.chunks:
            raise Bad(f"{where}: {self.chunks} chunks, seqs {self.first_seq} to {self.last_seq}")

    def chunks_of(self, manifests, hour):
        """The manifests in force that it lets go, where the newest hour note is that of `hour`."""
        named = [m for m in manifests
                 if self.first_seq <= m.first_seq and m.last_seq <= self.last_seq]
        if not named or named[0].first_seq != self.first_seq \
                or named[-1].last_seq != self.last_seq:
            raise Bad(f"{self.where}: first_seq and last_seq are not those of logged chunks")
        if len(named) != self.chunks:
            raise Bad(f"{self.where}: {len(named)} chunks, not {self.chunks}")
        if named[0].first_seq == 1:
            raise Bad(f"{self.where}: prunes the chunk that opens the chain")
        for manifest in named:
            if manifest.pruned:
                raise Bad(f"{self.where}: seq {manifest.first_seq} was pruned before")
            if hour is None or manifest.hour > hour:
                raise Bad(f"{self.where}: seq {manifest.first_seq} is of an hour without a note")
        root = p.root([p.leaf_hash(manifest.note) for manifest in named])
        if root.hex() != self.manifests_root:
            raise Bad(f"{self.where}: manifests_root is not that of the manifests in force")
        if named[-1].last_recorded_at != self.last_recorded_at:
            raise Bad(f"{self.where}: last_recorded_at is not that of the last chunk")
        return named

    def early(self, hour, least):
        """What is short of the days that it names itself, or of the auditor's; None where nothing is."""
        age = (hour + p.HOUR - self.last_recorded_at) // DAY
        if min(age, self.keep_days) >= least and age >= self.keep_days:
            return None
        return (f"{self.where}: kept for {age} days, by a policy of {self.keep_days}; "
                f"{least} are asked for: {self.reason}")
