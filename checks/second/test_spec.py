"""Every hash and note that docs/spec/ shows is a vector, or is recomputed from the vectors here."""

import base64
import json
import re
import unittest
from pathlib import Path

from blake3 import blake3

import primitives as p
from notes import Manifest
from prune import LINES as PRUNE_LINES
from prune import MIN_KEPT_DAYS, PRUNE, Record
from rollup import HEAD, ROLLUP, Rollup
from rollup import LINES as ROLLUP_LINES

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"
GOLDEN = SPEC / "vectors" / "golden" / "archive"
PRUNED = ("workspace=acme/date=2026-11-23/hour=14/"
          "00000000000000000064-00000000000000000065")
POLICY = b"keep_days = 184\n"
HEX = re.compile(r"(?<![0-9a-zA-Z_./=-])[0-9a-f]{16,}(?![0-9a-zA-Z_./=-])")


class Spec(unittest.TestCase):
    def setUp(self):
        text = (SPEC / "vectors" / "v1.json").read_text(encoding="utf-8")
        self.values = json.loads(text)
        computed = [p.sha(item["statement"].encode()) for item in self.values["submissions"]]
        computed += [p.leaf_hash(head.encode()) for head in self.values["hour"]["heads"]]
        computed += list(p.SMALL_ORDER) + [bytes(32)]
        root = self.values["log"]["checkpoint"].split("\n")[2]
        computed.append(base64.b64decode(root))
        leaves = [p.leaf_hash(bytes([i]) * i) for i in range(20)]
        computed += [*leaves, p.root(leaves[4:7])]
        computed += [self.pruned(), p.leaf_hash(self.pruned()), p.sha(POLICY)]
        inputs = [p.sha(b"one"), p.sha(b"two")]
        computed += [*inputs, p.root([p.leaf_hash(note) for note in inputs])]
        computed += [p.sha(b"object"), blake3(b"object").digest(), p.sha(self.definition().encode())]
        order = str(p.ORDER - 2**252)
        self.known = " ".join([text, order, *(value.hex() for value in computed)])

    def pruned(self):
        """H of the manifest's note of the chunk in the example of retention.md."""
        return p.sha((GOLDEN / "manifests" / f"{PRUNED}.note").read_bytes())

    def block(self, name, first, count=None):
        """The indented lines of a page from this one on: so many, or to the end of the block."""
        lines = (SPEC / name).read_text(encoding="utf-8").splitlines()
        at = max(at for at, line in enumerate(lines) if line == f"    {first}")
        end = next(end for end in range(at, len(lines)) if not lines[end].startswith("    "))
        end = at + count if count else end
        return "".join(f"{line[4:]}\n" for line in lines[at:end])

    def definition(self):
        return self.block("rollups.md", "-- tallystick/rollup-sql/v1")

    def test_rollup(self):
        """The example of rollups.md is a manifest of the definition before it."""
        text = self.block("rollups.md", ROLLUP, 1 + len(ROLLUP_LINES))
        rollup = Rollup(text, "ledger.example.com/test", "rollups.md")
        head = HEAD.match(self.definition())
        self.assertEqual((head[1], int(head[2])), (rollup.name, rollup.version))
        self.assertEqual(rollup.sql_sha256, p.sha(self.definition().encode()).hex())
        for line in ROLLUP_LINES:
            with self.subTest(line=line), self.assertRaises(p.Bad):
                Rollup(re.sub(f"(?m)^{line} .*$", f"{line}  ", text), "ledger.example.com/test", "")

    def test_prune_record(self):
        """The example of retention.md is a record that fits the golden log, once that is old enough."""
        text = self.block("retention.md", PRUNE, 1 + len(PRUNE_LINES))
        record = Record(text, "ledger.example.com/golden", "retention.md")
        note = (GOLDEN / "manifests" / f"{PRUNED}.note").read_bytes()
        manifest = Manifest(note.decode().rpartition("\n\n")[0] + "\n", "ledger.example.com/golden", "golden")
        manifest.note = p.sha(note)
        self.assertEqual(record.chunks_of([manifest], manifest.hour), [manifest])
        enough = p.exact_hour("2027-05-26T14:00:00Z", "retention.md")
        self.assertIsNone(record.early(enough, MIN_KEPT_DAYS))
        self.assertIsNotNone(record.early(enough - p.HOUR, MIN_KEPT_DAYS))

    def files(self):
        return sorted(SPEC.glob("*.md"))

    def test_hashes(self):
        seen = 0
        for path in self.files():
            for value in HEX.findall(path.read_text(encoding="utf-8")):
                seen += 1
                with self.subTest(path=path.name, value=value):
                    self.assertTrue(value in self.known, "neither a vector nor recomputed")
        self.assertGreater(seen, 50)

    def test_notes(self):
        """Each indented note that is signed stands in the vectors, line by line."""
        notes = [item["receipt"] for item in self.values["submissions"]]
        notes += [self.values["manifest"], self.values["hour"]["note"],
                  self.values["log"]["checkpoint"]]
        seen = 0
        for path in self.files():
            lines = [line.removeprefix("    ")
                     for line in path.read_text(encoding="utf-8").splitlines()]
            for at, line in enumerate(lines):
                if line.startswith("— ledger."):
                    seen += 1
                    with self.subTest(path=path.name):
                        whole = next(note for note in notes if note.endswith(line + "\n"))
                        count = whole.count("\n")
                        self.assertEqual("\n".join(lines[at + 1 - count:at + 1]) + "\n", whole)
        self.assertEqual(seen, 4)


if __name__ == "__main__":
    unittest.main()
