"""`tally-verify verify` on the golden archive, and on one that is made with every key in hand.

The golden archive's keys are not here. What only an operator with the seal key can do, and what
takes an earlier checkpoint, is done to an archive of the second implementation's forge.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "checks" / "second"))

# The path has to be set first.
import primitives as p  # noqa: E402
from forge import ORIGIN, Forge, Key, trust  # noqa: E402

GOLDEN = ROOT / "docs" / "spec" / "vectors" / "golden"
MINUTE, HOUR = 60_000_000, 3_600_000_000
OWNER, AGENT = Key("root"), Key("agent")
EVENTS_AN_HOUR = 12


class Verifier:
    """The built program, and an archive as it stood when an auditor last came by."""

    def __init__(self, program, work, name, original, trust_file, through):
        self.program, self.work, self.name, self.original = program, work, name, original
        self.trust, self.through = trust_file, through
        self.archive, self.kept = work / name, work / f"{name}.checkpoint"
        self.usual = []
        self.renew()
        said, code = self.verify("--any-age", "--keep-checkpoint", str(self.kept))
        if code != 0:
            raise SystemExit(f"{name}: the untouched archive is not proven: exit {code}, {said}")
        self.usual = said[1:]

    def renew(self):
        """The archive as it was; gives its directory."""
        shutil.rmtree(self.archive, ignore_errors=True)
        shutil.copytree(self.original, self.archive)
        return self.archive

    def verify(self, *options):
        """The verdict, the findings that the untouched archive does not have, the exit code."""
        done = subprocess.run(
            [self.program, "verify", "--archive", str(self.archive), "--trust", str(self.trust),
             *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        if not done.stdout:
            raise SystemExit(f"tally-verify says nothing, exit {done.returncode}: {done.stderr}")
        verdict, *rest = done.stdout.splitlines()
        findings = []
        for line in rest:
            if line.startswith("  T") and line[3:6].isdigit():
                findings.append(line.strip())
            elif line.startswith("       at ") and findings:
                findings[-1] += f"  at {short(line.strip().removeprefix('at '))}"
        return [verdict, *(one for one in findings if one not in self.usual)], done.returncode

    def fails(self, option, value, *more):
        """The decisive line and the exit code with another value of an option, or without it."""
        question = {"--archive": str(self.archive), "--trust": str(self.trust)} | {option: value}
        words = [word for name, text in question.items() if text for word in (name, text)]
        done = subprocess.run([self.program, "verify", *words, *more], cwd=self.work,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
        findings = [line for line in lines if line.startswith("T1")]
        named = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
        return (findings or [named])[0], done.returncode

    def all_ways(self):
        """What it says: without more, where it has to reach, with the checkpoint kept."""
        return [self.verify("--any-age"), self.verify("--expect-through", self.through),
                self.verify("--any-age", "--checkpoint", str(self.kept))]


def short(place):
    """Two last parts of a path: hour and file."""
    parts = place.split("/")
    return place if len(parts) < 3 else "…/" + "/".join(parts[-2:])


def make(directory, hours=3, drop=None, change=None, counted=True):
    """An archive of `hours` hours, without submission `drop`, with another payload in `change`.

    All of it is signed by the seal key, whatever was done.
    """
    forge = Forge()
    forge.create("acme", OWNER)
    forge.ledger("acme", "key_registered", OWNER, MINUTE, key=AGENT.text, role="agent")
    for number in range(1, hours * EVENTS_AN_HOUR + 1):
        at = (number - 1) // EVENTS_AN_HOUR * HOUR + ((number - 1) % EVENTS_AN_HOUR + 2) * MINUTE
        event = forge.event("acme", context={"call": "GetObject"})
        if number == drop:
            continue
        row = forge.submit("acme", AGENT, at, event, counter=number if counted else 0)
        if number == change:
            row["payload"] = event.replace(b"GetObject", b"PutObject")
            row["payload_digest"] = p.sha(row["payload"])
            text = p.statement(ORIGIN, "acme", row["counter"], [row["payload_digest"]])
            row["submission_hash"] = p.submission_hash(AGENT.public, row["signature"], text)
    forge.seal(directory)
    return directory


def write_trust(path):
    """The trust file of a made archive."""
    values = trust(acme=[OWNER])
    lines = [f'origin = "{values["origin"]}"', f'seal_keys = ["{values["seal_keys"][0]}"]',
             f'receipt_keys = ["{values["receipt_keys"][0]}"]', "[workspaces.acme]",
             f'root_keys = ["{values["workspaces"]["acme"]["root_keys"][0]}"]', ""]
    path.write_text("\n".join(lines))
    return path
