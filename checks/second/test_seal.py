"""Seal keys that follow on each other, that are stolen and revoked: who signs what, on which side
(FAULTS row 24)."""

import shutil
import unittest

import primitives as p
from archive import Archive
from forge import SEAL, Forge, Key, revocation, succession, trust, vkey
from primitives import Bad
from test_verify import AGENT, MINUTE, ROOT, Case
from verify import Audit

SECOND, THIRD, THIEF = map(Key, ("second", "third", "thief"))
LEAVES = 5  # two chunks of the first hour, its note, a chunk of the second, its note


def second(_):
    return succession(SEAL, SECOND)


class Seal(Case):
    def setUp(self):
        super().setUp()
        self.begin()

    def begin(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.forge = forge = Forge()
        forge.create("acme", ROOT)
        forge.ledger("acme", "key_registered", ROOT, MINUTE, key=AGENT.text, role="agent")
        forge.submit("acme", AGENT, 2 * MINUTE, forge.event("acme"))
        forge.submit("acme", AGENT, 70 * MINUTE, forge.event("acme"))
        forge.create("beta", ROOT, at=2 * MINUTE)

    def rotate(self, at, signers=(SEAL, SECOND)):
        self.forge.changes[at] = (second, signers, SECOND)

    def revoke(self, at):
        """The first key is revoked where it is in force, and the second takes its place."""
        body = lambda forge: revocation(SEAL, len(forge.notes), forge.root(), SECOND)  # noqa: E731
        self.forge.changes[at] = (body, (SECOND,), SECOND)

    def audit(self, *keys, revoked=()):
        self.forge.seal(self.directory)
        return self.again(*keys, revoked=revoked)

    def again(self, *keys, revoked=()):
        values = trust(acme=[ROOT]) | {"seal_keys": [vkey(key) for key in keys]}
        values["revoked"] = [{"key": vkey(key), "size": size, "root": root}
                             for key, size, root in revoked]
        return Audit(Archive(self.directory), values).run()

    def refused(self, why, *keys, **more):
        with self.assertRaisesRegex(Bad, why):
            self.audit(*keys, **more)

    def test_any_key_of_the_line_anywhere(self):
        for at in range(LEAVES + 1):
            for keys in ((SEAL,), (SECOND,), (SECOND, SEAL), (THIEF, SECOND)):
                self.begin()
                self.rotate(at)
                with self.subTest(at=at):
                    summary = self.audit(*keys)
                    self.assertEqual(summary["seal_keys"], [vkey(SEAL), vkey(SECOND)])
                    self.assertEqual(summary["log_size"], LEAVES + 1)
            with self.assertRaisesRegex(Bad, "no trusted key"):
                self.again(THIEF)

    def test_three_keys(self):
        for key in (SEAL, SECOND, THIRD):
            self.begin()
            self.rotate(0)
            self.forge.changes[3] = (lambda _: succession(SECOND, THIRD), (SECOND, THIRD), THIRD)
            self.assertEqual(len(self.audit(key)["seal_keys"]), 3)

    def test_the_wrong_side_by_one(self):
        for at in range(1, LEAVES):
            for leaf, key in ((at - 1, SECOND), (at + 1, SEAL)):
                for known in (SEAL, SECOND):
                    self.begin()
                    self.rotate(at)
                    self.forge.leaf_keys[leaf] = key
                    with self.subTest(at=at, leaf=leaf):
                        self.refused(f"log leaf {leaf}: not signed by the key in force", known)

    def test_the_checkpoint_of_the_other_key(self):
        self.rotate(LEAVES)
        self.forge.checkpoint_key = SEAL
        self.refused("log/checkpoint: not signed by the key in force", SEAL, SECOND)
        self.begin()
        self.forge.checkpoint_key = SECOND
        self.refused("log/checkpoint: not signed by the key in force", SEAL, SECOND)

    def test_successions_that_are_none(self):
        for signers in ((SEAL,), (SECOND,), (THIEF, SECOND)):
            self.begin()
            self.rotate(3, signers)
            with self.subTest(signers=len(signers)):
                self.refused("not signed by both keys", SEAL)
        for body in (lambda _: succession(SECOND, THIRD),
                     lambda _: succession(SECOND, SEAL)):
            self.begin()
            self.rotate(1)
            self.forge.changes[3] = (body, (SECOND, SEAL, THIRD), THIRD)
            if body(None) == succession(SECOND, THIRD):
                self.forge.changes.pop(1)
            with self.subTest(body=body(None)):
                self.refused("not a succession|not signed", SEAL)
        self.begin()
        self.forge.changes[3] = (lambda _: second(_) + "more 1\n", (SEAL, SECOND), SECOND)
        self.refused("not the lines", SEAL)

    def test_a_stolen_key_that_is_in_force(self):
        self.revoke(3)
        self.assertEqual(self.audit(SECOND)["rests_on_revoked"], [])
        self.assertEqual(self.again(SEAL, SECOND)["rests_on_revoked"], [])
        with self.assertRaisesRegex(Bad, "only a revocation"):
            self.again(SEAL)
        for leaf, checkpoint in ((4, None), (None, SEAL)):
            self.begin()
            self.revoke(3)
            self.forge.checkpoint_key = checkpoint
            if leaf:
                self.forge.leaf_keys[leaf] = SEAL
            with self.subTest(leaf=leaf):
                self.refused("not signed by the key in force", SECOND)

    def test_a_cutoff_that_is_one_off(self):
        body = lambda forge: revocation(SEAL, len(forge.notes) - 1, forge.root(), SECOND)  # noqa: E731
        self.forge.changes[3] = (body, (SECOND,), SECOND)
        self.refused("another cut-off", SECOND)

    def later(self):
        self.rotate(2)
        body = lambda forge: revocation(SEAL, 3, forge.root(3), SECOND)  # noqa: E731
        self.forge.changes[LEAVES + 1] = (body, (SECOND,), SECOND)

    def test_a_stolen_key_that_was_in_force(self):
        self.later()
        self.assertEqual(self.audit(SEAL)["rests_on_revoked"], [vkey(SEAL)])
        self.assertEqual(self.again(SECOND)["rests_on_revoked"], [])
        known = [(SEAL, 3, self.forge.root(3))]
        self.assertEqual(self.again(SEAL, revoked=known)["rests_on_revoked"], [])

    def test_what_the_auditor_knows_of_a_stolen_key(self):
        self.rotate(2)
        self.audit(SEAL)
        root = self.forge.root(3)
        self.again(SECOND, revoked=[(SEAL, 3, root)])
        self.again(SEAL, revoked=[(SEAL, 3, root)])
        for cutoff, why in (((SEAL, 2, self.forge.root(2)), "past its cut-off"),
                            ((SEAL, 3, p.ZERO), "another log"),
                            ((SEAL, 99, root), "ends before the cut-off")):
            with self.subTest(why=why), self.assertRaisesRegex(Bad, why):
                self.again(SECOND, revoked=[cutoff])
        # The thief goes on from before the change, in a log of his own.
        self.begin()
        self.forge.changes[3] = (lambda _: succession(SEAL, THIEF), (SEAL, THIEF), THIEF)
        self.refused("another log", SEAL, revoked=[(SEAL, 3, root)])
        self.again(SEAL)  # without the revocation, nothing is wrong with it
        with self.assertRaisesRegex(Bad, "no trusted key"):
            self.again(SECOND)


if __name__ == "__main__":
    unittest.main()
