"""Proofs of single events: those of the golden archive, those that this test makes, and what is none."""

import base64
import json
import random
import tomllib
import unittest
from pathlib import Path

import primitives as p
from forge import ORIGIN, SEAL, Forge, Key, revocation, sign_note, succession, trust, vkey
from primitives import Bad
from proof import prove
from test_verify import AGENT, GOLDEN, MINUTE, ROOT, ROOT2, Case

SECOND, THIRD = map(Key, ("second", "third"))
PROOFS = GOLDEN.parent / "proofs"


def make(forge, workspace, seqs, digest_only=False):
    """The proof of the last of these seqs, its key history before it, as the spec says it."""
    rows = {row["seq"]: row for row in forge.rows[workspace]}
    manifests = {}  # first and last seq -> place in the log of the note in force
    for at, note in enumerate(forge.notes):
        lines = note.decode().split("\n")
        if lines[0] == "tallystick/chunk/v1" and lines[2] == f"workspace {workspace}":
            manifests[int(lines[5].split()[1]), int(lines[6].split()[1])] = at
    chunk_of = {seq: next((bounds, at) for bounds, at in manifests.items()
                          if bounds[0] <= seq <= bounds[1]) for seq in seqs}
    changes = {at for at, note in enumerate(forge.notes)
               if note.startswith((b"tallystick/succession", b"tallystick/revocation"))}
    places = sorted({at for _, at in chunk_of.values()} | changes)
    hashes = [p.leaf_hash(note) for note in forge.notes]
    checkpoint = (Path(forge.directory) / "log/checkpoint").read_bytes()
    out = [f"tallystick/proof/v1\norigin {ORIGIN}\nworkspace {workspace}\nnotes {len(places)}\n"
           f"events {len(seqs)}\n".encode()]
    for at in places:
        path = "".join(base64.b64encode(one).decode() + "\n" for one in p.inclusion_path(hashes, at))
        tlog = f"c2sp.org/tlog-proof@v1\nindex {at}\n{path}\n".encode() + checkpoint
        out += [f"note {len(forge.notes[at])}\n".encode(), forge.notes[at],
                f"tlog-proof {len(tlog)}\n".encode(), tlog]
    for seq in seqs:
        row, ((first, last), at) = rows[seq], chunk_of[seq]
        start = seq - row["submission_index"]
        digests = [rows[start + i]["payload_digest"] for i in range(row["submission_count"])]
        path = p.inclusion_path([rows[i]["leaf"] for i in range(first, last + 1)], seq - first)
        text = row["event_id"].hex()
        text = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
        lines = [f"seq {seq}", f"recorded_at {p.time_text(row['recorded_at'])}", f"event_id {text}",
                 f"counter {row['counter']}", f"public_key {p.key_text(row['public_key'])}",
                 f"signature {base64.b64encode(row['signature']).decode()}",
                 f"submission_index {row['submission_index']}", f"submission_count {len(digests)}",
                 *(f"payload_digest {one.hex()}" for one in digests),
                 f"manifest {places.index(at)}", f"path {len(path)}",
                 *(f"hash {one.hex()}" for one in path)]
        out.append("".join(line + "\n" for line in lines).encode())
        if row["payload"] is None or (digest_only and seq == seqs[-1]):
            out.append(b"payload withheld\n")
        else:
            out.append(b"payload %d\n%s\n" % (len(row["payload"]), row["payload"]))
    return b"".join(out)


class Golden(unittest.TestCase):
    def setUp(self):
        self.trust = tomllib.loads((GOLDEN / "trust.toml").read_text())

    def test_vectors(self):
        told = json.loads((PROOFS / "proofs.json").read_text(encoding="utf-8"))
        self.assertEqual(len(told), 4)
        for name, wanted in told.items():
            with self.subTest(name=name):
                found = prove((PROOFS / name).read_bytes(), self.trust)
                self.assertEqual(found, found | wanted)

    def test_refuses_a_flipped_bit_anywhere(self):
        dice, whole = random.Random(2), (PROOFS / "acme-70.proof").read_bytes()
        for at in range(len(whole)):
            data = bytearray(whole)
            data[at] ^= 1 << dice.randrange(8)
            with self.subTest(at=at), self.assertRaises(Bad):
                prove(bytes(data), self.trust)

    def test_refuses_what_is_cut_or_longer(self):
        whole = (PROOFS / "acme-70.proof").read_bytes()
        for at in range(0, len(whole), 7):
            for data in (whole[:at], whole[:at] + whole[at + 1:], whole[:at] + b"\n" + whole[at:]):
                with self.subTest(at=at), self.assertRaises(Bad):
                    prove(data, self.trust)
        with self.assertRaises(Bad):
            prove(whole + b"\n", self.trust)


class Made(Case):
    def setUp(self):
        super().setUp()
        self.forge = forge = Forge()
        forge.create("acme", ROOT)
        forge.ledger("acme", "key_registered", ROOT, MINUTE, key=ROOT2.text, role="root")
        forge.ledger("acme", "key_registered", ROOT2, 2 * MINUTE, key=AGENT.text, role="agent",
                     actor_id="agent-7")
        forge.submit("acme", AGENT, 3 * MINUTE, *(forge.event("acme") for _ in range(3)), counter=9)
        forge.submit("acme", AGENT, 70 * MINUTE, forge.event("acme"))
        forge.ledger("acme", "key_revoked", ROOT, 71 * MINUTE, key=AGENT.text, reason="lost")
        forge.submit("acme", AGENT, 72 * MINUTE, forge.event("acme"))
        self.trust = trust(acme=[ROOT])

    def seal(self):
        self.forge.seal(self.directory)

    def refused(self, why, data, values=None):
        with self.assertRaisesRegex(Bad, why):
            prove(data, values or self.trust)

    def test_key_history(self):
        self.seal()
        found = prove(make(self.forge, "acme", [1, 2, 3, 5]), self.trust)
        self.assertEqual((found["seq"], found["role"], found["key_history"]), (5, "agent", [1, 2, 3]))
        self.assertTrue(found["payload_shown"])
        found = prove(make(self.forge, "acme", [1, 2, 3, 5], digest_only=True), self.trust)
        self.assertFalse(found["payload_shown"])
        self.assertEqual(prove(make(self.forge, "acme", [1]), self.trust)["role"], "root")
        self.refused("not in force", make(self.forge, "acme", [1, 3, 5]))
        self.refused("not in force", make(self.forge, "acme", [1, 2, 5]))
        self.refused("not in force", make(self.forge, "acme", [2, 3, 5]))
        self.refused("sets no keys", make(self.forge, "acme", [1, 2, 3, 4, 5]))
        self.refused("seq 1 is not", make(self.forge, "acme", [1], digest_only=True))
        self.refused("root keys that the trust file", make(self.forge, "acme", [1, 2]), trust(acme=[ROOT2]))
        # With the revocation shown it is refused; without it, nobody can tell.
        self.refused("not in force", make(self.forge, "acme", [1, 2, 3, 8, 9]))
        self.assertEqual(prove(make(self.forge, "acme", [1, 2, 3, 9]), self.trust)["seq"], 9)

    def test_forms(self):
        self.seal()
        whole = make(self.forge, "acme", [1, 2, 3, 7])
        for old, new in ((b"counter 0\n", b"counter 00\n"), (b"event_id 0", b"event_id O"),
                         (b"\nindex 0\n", b"\nextra AAAA\nindex 0\n"), (b"notes 2\n", b"notes 1\n"),
                         (b"manifest 1\n", b"manifest 2\n"), (b"manifest 0\n", b"manifest 1\n")):
            self.assertIn(old, whole)
            with self.subTest(old=old), self.assertRaises(Bad):
                prove(whole.replace(old, new), self.trust)
        self.refused("not a proof", b"tallystick/chunk/v1\n")

    def test_seal_keys(self):
        self.forge.changes[2] = (lambda _: succession(SEAL, SECOND), (SEAL, SECOND), SECOND)
        self.seal()
        for seqs in ([1, 2, 3, 5], [1, 2, 3, 7]):
            data = make(self.forge, "acme", seqs)
            for key in (SEAL, SECOND):
                self.assertEqual(prove(data, self.knows(key))["seq"], seqs[-1])
            self.refused("no trusted key", data, self.knows(THIRD))

    def test_a_stolen_seal_key(self):
        self.forge.changes[2] = (lambda forge: revocation(SEAL, 2, forge.root(), SECOND), (SECOND,), SECOND)
        self.seal()
        data = make(self.forge, "acme", [1, 2, 3, 7])
        self.refused("only a revocation", data, self.knows(SEAL))
        self.assertEqual(prove(data, self.knows(SEAL, SECOND))["seq"], 7)
        root = self.forge.root(2)
        for size, root, why in ((2, root, None), (2, p.ZERO, "another log"), (5, root, "cut-off"),
                                (99, root, "ends before")):
            values = self.knows(SECOND) | {"revoked": [{"key": vkey(SEAL), "size": size, "root": root}]}
            with self.subTest(size=size):
                if why:
                    self.refused(why, data, values)
                else:
                    self.assertEqual(prove(data, values)["rests_on_revoked"], [])

    def test_another_log(self):
        self.seal()
        data = make(self.forge, "acme", [1])
        checkpoint = (self.directory / "log/checkpoint").read_bytes()
        body = checkpoint.decode().split("\n\n")[0] + "\n"
        foreign = sign_note(body, THIRD)
        self.refused("not signed", data.replace(checkpoint, foreign))
        seen = {"seen": [{"size": len(self.forge.notes), "root": p.ZERO}]}
        self.refused("than was seen", data, self.trust | seen)

    def knows(self, *keys):
        return self.trust | {"seal_keys": [vkey(key) for key in keys]}


if __name__ == "__main__":
    unittest.main()
