"""The second verifier finds the honest archives intact, and says no to each of the others."""

import base64
import json
import random
import shutil
import tempfile
import tomllib
import unittest
import uuid
from pathlib import Path

import primitives as p
from archive import Archive
from forge import START, Forge, Key, trust
from payload import Refused, check, money
from primitives import Bad
from verify import Audit

GOLDEN = Path(__file__).resolve().parents[2] / "docs" / "spec" / "vectors" / "golden"
ROOT, ROOT2, AGENT, CUSTODIAN, OTHER = map(Key, ("root", "root2", "agent", "custodian", "other"))
MINUTE, HOUR = 60_000_000, 3_600_000_000


class Case(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.directory = Path(temporary.name) / "archive"


class Golden(Case):
    def setUp(self):
        super().setUp()
        shutil.copytree(GOLDEN / "archive", self.directory)
        self.trust = tomllib.loads((GOLDEN / "trust.toml").read_text())

    def audit(self):
        return Audit(Archive(self.directory), self.trust).run()

    def files(self):
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    def test_is_intact(self):
        summary = self.audit()
        self.assertEqual((summary["log_size"], summary["hours"], summary["chunks"]), (7, 3, 4))
        acme, beta = summary["workspaces"]["acme"], summary["workspaces"]["beta"]
        self.assertEqual((acme["last_seq"], beta["last_seq"]), (70, 3))
        self.assertEqual(list(acme["missing_counters"].values()), [[[2, 2]]])
        self.assertEqual((acme["custodian_events"], beta["custodian_events"]), (1, 0))

    def test_refuses_a_flipped_bit_anywhere(self):
        dice = random.Random(1)
        for path in self.files():
            whole = path.read_bytes()
            for _ in range(12):
                data = bytearray(whole)
                data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
                path.write_bytes(data)
                with self.subTest(path=path.name), self.assertRaises(Bad):
                    self.audit()
            path.write_bytes(whole)

    def test_refuses_a_cut_or_lengthened_object(self):
        for path in self.files():
            whole = path.read_bytes()
            for data in (whole[:-1], whole[:len(whole) // 2], b"", whole + b"\n"):
                path.write_bytes(data)
                with self.subTest(path=path.name, size=len(data)), self.assertRaises(Bad):
                    self.audit()
            path.write_bytes(whole)

    def test_refuses_a_missing_object(self):
        for path in self.files():
            whole = path.read_bytes()
            path.unlink()
            with self.subTest(path=path.name), self.assertRaises(Bad):
                self.audit()
            path.write_bytes(whole)

    def test_refuses_an_unknown_object(self):
        for key in ("events/more.parquet", "rollups/daily/1.parquet", "log/tile/9/000",
                    "hours/date=2026-11-23/hour=13.note"):
            path = self.directory / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            with self.subTest(key=key), self.assertRaisesRegex(Bad, "nothing in the log names it"):
                self.audit()
            path.unlink()

    def test_reports_what_an_archiver_is_still_writing(self):
        for key in ("log/tile/entries/000.p/9", "log/tile/0/000.p/9", "hours/date=2026-11-23/"
                    "hour=17.heads"):
            (self.directory / key).write_bytes(b"half")
        for path in list(self.directory.glob("events/**/*.parquet"))[:1]:
            path.with_suffix(".e1.parquet").write_bytes(b"half")
        self.assertEqual(len(self.audit()["unlogged"]), 4)

    def test_accepts_tiles_that_gave_way_to_fuller_ones(self):
        tiles = self.directory / "log" / "tile"
        bundle = (tiles / "entries" / "000.p" / "7").read_bytes()
        first = 2 + int.from_bytes(bundle[:2], "big")
        (tiles / "entries" / "000.p" / "1").write_bytes(bundle[:first])
        (tiles / "0" / "000.p" / "1").write_bytes((tiles / "0" / "000.p" / "7").read_bytes()[:32])
        self.audit()
        for tile, data in (("entries", bundle[:first - 1]), ("0", bytes(32))):
            whole = (tiles / tile / "000.p" / "1").read_bytes()
            (tiles / tile / "000.p" / "1").write_bytes(data)
            with self.subTest(tile=tile), self.assertRaises(Bad):
                self.audit()
            (tiles / tile / "000.p" / "1").write_bytes(whole)

    def test_refuses_swapped_objects(self):
        for group in ("*.parquet", "*.heads", "*.note"):
            first, *_, second = sorted(self.directory.rglob(group))
            a, b = first.read_bytes(), second.read_bytes()
            first.write_bytes(b), second.write_bytes(a)
            with self.subTest(group=group), self.assertRaises(Bad):
                self.audit()
            first.write_bytes(a), second.write_bytes(b)

    def test_ignores_signatures_of_others(self):
        """A witness may add its own; one that claims a trusted key must be right."""
        path = self.directory / "log" / "checkpoint"
        whole = path.read_bytes()
        witness = base64.b64encode(b"abcd" + bytes(64)).decode()
        path.write_bytes(whole + f"— witness.example.com {witness}\n".encode())
        self.audit()
        forged = base64.b64encode(bytes.fromhex("90c48343") + bytes(64)).decode()
        for line in (f"— ledger.example.com/golden {forged}\n", "— x\n", "\n"):
            path.write_bytes(whole + line.encode())
            with self.subTest(line=line), self.assertRaises(Bad):
                self.audit()

    def test_refuses_other_trust(self):
        other = trust(acme=[ROOT])
        for change in (
            {"origin": other["origin"]},
            {"seal_keys": other["seal_keys"]},
            {"workspaces": other["workspaces"]},
            {"workspaces": {"gamma": {"root_keys": [ROOT.text]}}},
        ):
            with self.subTest(change=list(change)), self.assertRaises(Bad):
                Audit(Archive(self.directory), {**self.trust, **change}).run()


class Forged(Case):
    """Archives whose every note is signed by the right seal key: only the content is wrong."""

    def setUp(self):
        super().setUp()
        self.forge = forge = Forge()
        forge.create("acme", ROOT, ROOT2)
        forge.ledger("acme", "key_registered", ROOT, MINUTE, key=AGENT.text, role="agent",
                     actor_id="agent-7")
        self.agent(3 * MINUTE, counter=1, count=3)  # seqs 3 to 5
        self.agent(70 * MINUTE, counter=2)  # seq 6
        forge.create("beta", ROOT, at=2 * MINUTE)

    def agent(self, at, counter=0, count=1, key=AGENT, **members):
        events = [self.forge.event("acme", **members) for _ in range(count)]
        return self.forge.submit("acme", key, at, *events, counter=counter)

    def row(self, seq):
        return self.forge.rows["acme"][seq - 1]

    def audit(self, seal=True):
        if seal:
            self.forge.seal(self.directory)
        return Audit(Archive(self.directory), trust(acme=[ROOT, ROOT2])).run()

    def refused(self, why, seal=True):
        with self.assertRaisesRegex(Bad, why):
            self.audit(seal)

    def test_honest(self):
        summary = self.audit()
        self.assertEqual((summary["events"], summary["chunks"], summary["hours"]), (7, 3, 2))
        self.assertEqual(summary["workspaces"]["acme"]["missing_counters"], {})

    def test_silent_hours_and_parts(self):
        self.agent(5 * HOUR, counter=4)
        self.forge.split_at["acme"] = {2, 3}
        summary = self.audit()
        self.assertEqual((summary["hours"], summary["chunks"]), (6, 6))
        (missing,) = summary["workspaces"]["acme"]["missing_counters"].values()
        self.assertEqual(missing, [[3, 3]])

    def test_changed_payload(self):
        row = self.row(4)
        row["payload"] = row["payload"].replace(b"business_event", b"business.event")
        self.refused("payload_digest")

    def test_changed_payload_and_digest(self):
        row = self.row(4)
        row["payload"] = row["payload"].replace(b"business_event", b"business.event")
        row["payload_digest"] = p.sha(row["payload"])
        self.refused("signature does not verify")

    def test_dropped_event(self):
        del self.forge.rows["acme"][3]
        self.refused("a submission of 3 rows is cut|disagree")

    def test_dropped_submission_shows_as_a_counter(self):
        del self.forge.rows["acme"][2:5]
        (missing,) = self.audit()["workspaces"]["acme"]["missing_counters"].values()
        self.assertEqual(missing, [[1, 1]])

    def test_shortened_submission(self):
        del self.forge.rows["acme"][4]
        for seq in (3, 4):
            self.row(seq)["submission_count"] = 2
        self.refused("signature does not verify")

    def test_swapped_events(self):
        rows = self.forge.rows["acme"]
        rows[2], rows[3] = rows[3], rows[2]
        rows[2]["submission_index"], rows[3]["submission_index"] = 0, 1
        self.refused("signature does not verify")

    def test_split_submission(self):
        self.forge.split_at["acme"] = {4}
        self.refused("is cut")

    def test_recorded_at_falls(self):
        self.row(1)["recorded_at"] = START + 2 * MINUTE
        self.refused("recorded_at falls")

    def test_recorded_at_outside_its_hour(self):
        row = self.row(6)
        row["hour"] = row["recorded_at"] // p.HOUR * p.HOUR
        row["recorded_at"] += HOUR
        self.refused("times do not lie in its hour")

    def test_a_gap_in_the_seqs(self):
        self.row(6)["seq"] = 7
        self.refused("does not follow")

    def test_a_custodian_is_reported(self):
        self.forge.ledger("acme", "key_registered", ROOT, 71 * MINUTE, key=CUSTODIAN.text,
                          role="custodian")
        self.agent(72 * MINUTE, key=CUSTODIAN, count=4, actor_id="anyone")
        self.assertEqual(self.audit()["workspaces"]["acme"]["custodian_events"], 4)

    def test_an_unregistered_key(self):
        self.agent(72 * MINUTE, key=OTHER)
        self.refused("not in force")

    def test_a_revoked_key(self):
        self.forge.ledger("acme", "key_revoked", ROOT, 71 * MINUTE, key=AGENT.text, reason="lost")
        self.agent(72 * MINUTE)
        self.refused("not in force")

    def test_a_revoked_key_registered_again(self):
        self.forge.ledger("acme", "key_revoked", ROOT, 71 * MINUTE, key=AGENT.text, reason="lost")
        self.forge.ledger("acme", "key_registered", ROOT, 72 * MINUTE, key=AGENT.text,
                          role="agent")
        self.refused("was revoked")

    def test_the_last_root_key(self):
        self.forge.ledger("acme", "key_revoked", ROOT, 71 * MINUTE, key=ROOT2.text, reason="old")
        self.forge.ledger("acme", "key_revoked", ROOT, 72 * MINUTE, key=ROOT.text, reason="old")
        self.refused("last root key")

    def test_an_agent_who_registers_keys(self):
        self.forge.ledger("acme", "key_registered", AGENT, 71 * MINUTE, key=OTHER.text,
                          role="agent")
        self.refused("not signed by a root key")

    def test_a_ledger_event_in_company(self):
        context = {"key": OTHER.text, "role": "agent"}
        self.forge.submit("acme", ROOT, 71 * MINUTE, self.forge.event("acme"),
                          self.forge.event("acme", "ledger.key_registered", context=context))
        self.refused("does not stand alone")

    def test_a_context_with_more_than_its_members(self):
        for more in ({"note": "x"}, {"note": None}, {"role": {"agent": None}}):
            forge = self.forge = Forge()
            forge.create("acme", ROOT, ROOT2)
            forge.ledger("acme", "key_registered", ROOT, MINUTE,
                         **{"key": AGENT.text, "role": "agent", **more})
            shutil.rmtree(self.directory, ignore_errors=True)
            with self.subTest(more=more):
                self.refused("context has|role is none")

    def test_a_root_key_that_revokes_itself(self):
        self.forge.ledger("acme", "key_revoked", ROOT2, 71 * MINUTE, key=ROOT2.text, reason="old",
                          compromised_since=None)
        self.audit()

    def test_another_actor(self):
        self.agent(71 * MINUTE, actor_id="agent-8")
        self.refused("signed for agent-8")

    def test_the_same_event_twice(self):
        event = self.forge.event("acme")
        self.forge.submit("acme", AGENT, 71 * MINUTE, event, counter=3)
        self.forge.submit("acme", AGENT, 72 * MINUTE, event, counter=4)
        self.refused("event_id recorded twice")

    def test_the_same_counter_twice(self):
        self.agent(71 * MINUTE, counter=2)
        self.refused("used twice")

    def test_a_payload_that_breaks_the_rules(self):
        self.agent(71 * MINUTE, unheard_of=1)
        self.refused("unknown members")

    def test_a_lying_column(self):
        for column, value in (("event_type", "llm_call"), ("occurred_at", START + 1),
                              ("model", "m"), ("input_tokens", 1), ("success", True),
                              ("unit_cost_input", money("1")), ("parent_event_id", bytes(16))):
            with self.subTest(column=column):
                self.row(4)["lie"] = {column: value}
                shutil.rmtree(self.directory, ignore_errors=True)
                self.forge.notes.clear()
                self.refused(f"column {column}")

    def test_an_erasure(self):
        self.erase(self.row(4)["event_id"])
        self.row(4)["erase"] = True
        summary = self.audit()
        self.assertEqual(summary["workspaces"]["acme"]["erased"], 1)
        self.assertEqual(summary["chunks"], 3)

    def test_an_erasure_that_nobody_signed(self):
        self.row(4)["erase"] = True
        self.refused("withheld")

    def test_an_erasure_of_another_event(self):
        self.erase(self.row(3)["event_id"])
        self.row(4)["erase"] = True
        self.refused("withheld")

    def test_an_erasure_of_the_first_event(self):
        self.erase(self.row(1)["event_id"])
        self.row(1)["erase"] = True
        self.refused("seq 1 is not")

    def erase(self, event_id):
        self.forge.ledger("acme", "payload_erased", ROOT, 71 * MINUTE,
                          event_ids=[str(uuid.UUID(bytes=event_id))], reason="asked for")

    def test_a_missing_hour_note(self):
        self.agent(5 * HOUR, counter=3)
        self.forge.skip_hours = {START + 2 * HOUR}
        self.refused("does not follow")

    def test_a_hidden_workspace(self):
        self.forge.hide = {"beta"}
        self.refused("expected")

    def test_a_workspace_created_by_others(self):
        self.forge.rows["acme"] = []
        self.forge.create("acme", OTHER)
        self.refused("root keys")

    def test_an_hour_that_is_not_closed(self):
        """Its chunks may be logged, or still lie about; neither is tampering."""
        self.forge.skip_hours = {START + HOUR}
        self.forge.seal(self.directory)
        late = self.directory / ("events/workspace=acme/date=2026-11-23/hour=17/"
                                 "00000000000000000007-00000000000000000007.parquet")
        late.parent.mkdir(parents=True)
        late.write_bytes(b"half")
        summary = self.audit(seal=False)
        self.assertEqual((summary["hours"], summary["events"]), (1, 7))
        self.assertEqual(len(summary["unlogged"]), 1)


class Payload(unittest.TestCase):
    def test_refuses(self):
        event = {"event_id": "5f214cb4-9d8d-5158-9fd3-022cf971d3c4", "event_type": "x",
                 "occurred_at": "2026-11-23T16:00:03Z", "workspace_id": "acme"}
        check(json.dumps(event).encode(), "acme")
        for name, value in (
            ("occurred_at", "1970-01-01T00:30:00+01:00"),
            ("occurred_at", "9999-12-31T23:59:59-00:01"),
            ("occurred_at", "2026-11-23T24:00:00Z"), ("occurred_at", "2026-11-23T16:00:00.Z"),
            ("unit_cost_input", "-0"), ("unit_cost_input", True), ("input_tokens", True),
            ("unit_cost_input", "1."), ("unit_cost_input", "01"), ("parent_event_id", ""),
        ):
            with self.subTest(name=name, value=value), self.assertRaises(Refused):
                check(json.dumps({**event, name: value}).encode(), "acme")
        whole = json.dumps(event).encode()
        for payload in (b"", b"{", whole + b"\n", whole.replace(b"acme", b"\xff"),
                        whole.replace(b'"x"', b'"x\t"'), whole.replace(b"}", b',"context":NaN}'),
                        whole.replace(b"}", b',"context":' + b'{"a":' * 32 + b"1" + b"}" * 33)):
            with self.subTest(payload=payload), self.assertRaises(Refused):
                check(payload, "acme")
        check(whole.replace(b"}", b',"context":' + b'{"a":' * 31 + b"1" + b"}" * 32), "acme")


if __name__ == "__main__":
    unittest.main()
