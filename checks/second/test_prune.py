"""Chunks that retention has removed: what the log must say of them, and what is then still judged."""

import io
import shutil
import unittest
from contextlib import redirect_stderr, redirect_stdout

from archive import Archive
from forge import SEAL, trust
from primitives import Bad
from prune_cases import HARMLESS, LEAVES, ROOT, THIEF, build, lies, prune, quiet, spoil, trust_file
from test_verify import Case
from verify import Audit, main


class Prune(Case):
    def audit(self, *steps, least=0, **more):
        shutil.rmtree(self.directory, ignore_errors=True)
        build(self.directory, list(steps), **more)
        return self.again(least)

    def again(self, least=0):
        return Audit(Archive(self.directory), trust(acme=[ROOT], beta=[ROOT]), least).run()

    def refused(self, why, *steps, **more):
        with self.assertRaisesRegex(Bad, why):
            self.audit(*steps, **more)

    def object(self, ending=""):
        return self.directory / ("events/workspace=acme/date=2026-11-23/hour=15/"
                                 f"00000000000000000003-00000000000000000004{ending}.parquet")

    def test_pruned_as_the_log_says(self):
        summary = self.audit(prune(3, 5))
        self.assertFalse(self.object().exists())
        acme = summary["workspaces"]["acme"]
        self.assertEqual(acme["pruned"], {"chunks": 2, "events": 3})
        self.assertEqual((summary["events"], summary["chunks"]), (7, 7))
        self.assertEqual((acme["last_seq"], summary["pruned_early"]), (9, []))
        self.assertEqual(summary["workspaces"]["beta"]["pruned"], {"chunks": 0, "events": 0})

    def test_pruned_without_a_record(self):
        self.refused("missing or unreadable", prune(3, 5, logged=False))
        self.refused("missing or unreadable", prune(3, 4), prune(5, 5, logged=False))

    def test_what_lies_there_still(self):
        self.audit(prune(3, 5, removed=False))
        self.refused("bytes, not", prune(3, 5, removed=False), spoil(""))
        for ending in ("", ".e1"):
            with self.subTest(ending=ending):
                self.refused("bytes, not", prune(3, 5), spoil(ending), erase=True)
        note = "manifests/workspace=acme/date=2026-11-23/hour=15/" \
               "00000000000000000003-00000000000000000004.note"
        self.audit(prune(3, 4))
        (self.directory / note).unlink()
        with self.assertRaisesRegex(Bad, "missing or unreadable"):
            self.again()

    def test_each_line(self):
        for name, lie in lies():
            with self.subTest(name=name):
                if lie in HARMLESS:
                    self.audit(prune(3, 5, **lie))
                else:
                    self.refused(f"log leaf {LEAVES}: ", prune(3, 5, **lie))

    def test_places(self):
        for at in range(LEAVES):
            with self.subTest(at=at):
                if at > 4:
                    self.audit(prune(3, 5), move_last=at)
                else:
                    self.refused(f"log leaf {at}: ", prune(3, 5), move_last=at)

    def test_twice_and_the_first(self):
        self.refused("pruned before", prune(3, 5), prune(5, 5))
        self.refused("opens the chain", prune(1, 2))
        self.refused("not signed by the key in force", prune(3, 4), leaf_keys={LEAVES: THIEF})
        self.audit(prune(3, 4), leaf_keys={LEAVES: SEAL})

    def test_erasures(self):
        self.assertEqual(self.audit(prune(6, 7), erase=True)["workspaces"]["acme"]["erased"], 1)
        self.assertEqual(self.audit(prune(3, 4), erase=True)["workspaces"]["acme"]["erased"], 0)
        self.refused("the payload is withheld", prune(8, 8), erase=True)
        self.refused("amends a chunk that was pruned", prune(3, 4), erase=True, amend_late=True)

    def test_ages(self):
        for hours, keep, least, early in ((22, 1, 0, True), (23, 1, 1, False), (23, 0, 1, True),
                                          (23, 1, 2, True), (46, 2, 2, True), (47, 2, 2, False),
                                          (47, 1, 2, True), (47, 0, 0, False)):
            with self.subTest(hours=hours, keep=keep, least=least):
                step = prune(3, 5, keep_days=keep)
                summary = self.audit(quiet(hours), step, quiet(30), least=least)
                self.assertEqual(bool(summary["pruned_early"]), early)
        path = self.directory.parent / "trust.toml"
        path.write_text(trust_file([SEAL], []), encoding="utf-8")
        for days, code in ([], 0), (["1"], 0), (["-1"], 2), (["1", "2"], 2):
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                self.assertEqual(main([str(self.directory), str(path), *days]), code)

    def test_counters(self):
        def missing(*steps):
            return list(self.audit(*steps)["workspaces"]["acme"]["missing_counters"].values())
        # 1, 7 and, in the second hour, 3 and 9.
        self.assertEqual(missing(), [[[2, 2], [4, 6], [8, 8]]])
        self.assertEqual(missing(prune(3, 4)), [[[4, 6], [8, 8]]])
        self.assertEqual(missing(prune(3, 5)), [[[4, 8]]])
        self.assertEqual(missing(prune(6, 7)), [])
        self.assertEqual(missing(prune(9, 9)), [])


if __name__ == "__main__":
    unittest.main()
