"""Every hash and note that docs/spec/ shows is a vector, or is recomputed from the vectors here."""

import base64
import json
import re
import unittest
from pathlib import Path

import primitives as p

SPEC = Path(__file__).resolve().parents[2] / "docs" / "spec"
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
        order = str(p.ORDER - 2**252)
        self.known = " ".join([text, order, *(value.hex() for value in computed)])

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
