"""Archives from which retention has removed chunks, in order and not, for another verifier to judge.

    python prune_cases.py DIRECTORY

Writes DIRECTORY/<n>/archive and trust.toml for each case, and prints a JSON list of {case, min_kept_days,
verdict, ...} with what this verifier says and, where it finds nothing wrong, counts."""

import json
import sys
from itertools import combinations_with_replacement
from pathlib import Path

from archive import Archive
from forge import SEAL, START, Forge, Key, trust
from primitives import ZERO, Bad, time_text
from seal_cases import trust_file
from verify import Audit

ROOT, AGENT, THIEF = map(Key, ("root", "agent", "thief"))
MINUTE = 60_000_000
# The chunks of acme, by their seqs. The first and the fifth hold `ledger.` events; the first three are of
# the first hour, whose note is leaf 4, the others of the second, whose note is leaf 8.
CHUNKS = ((1, 2), (3, 4), (5, 5), (6, 7), (8, 8), (9, 9))
LEAVES = 9
LAST_OF_FIRST_HOUR = START + 3 * MINUTE
# Of the lines below, those that nothing contradicts.
HARMLESS = [{"keep_days": 2**63 - 1}, {"policy_sha256": ZERO}, {"reason": "x" * 1024},
            {"reason": "z\u00fc"}]


def honest(erase=False):
    """An archive whose fifth chunk allows the payload of seq 3 to be withheld."""
    forge = Forge()
    forge.create("acme", ROOT)
    forge.ledger("acme", "key_registered", ROOT, MINUTE, key=AGENT.text, role="agent")
    forge.submit("acme", AGENT, 2 * MINUTE, forge.event("acme"), forge.event("acme"), counter=1)
    forge.submit("acme", AGENT, 3 * MINUTE, forge.event("acme"), counter=7)
    forge.submit("acme", AGENT, 70 * MINUTE, forge.event("acme"), forge.event("acme"), counter=3)
    third = forge.rows["acme"][2]
    forge.ledger("acme", "payload_erased", ROOT, 71 * MINUTE, reason="asked for",
                 event_ids=[json.loads(third["payload"])["event_id"]])
    forge.submit("acme", AGENT, 72 * MINUTE, forge.event("acme"), counter=9)
    forge.create("beta", ROOT, at=2 * MINUTE)
    forge.split_at["acme"] = {first for first, _ in CHUNKS}
    if erase:
        third["erase"] = True
    return forge


def prune(first, last, **more):
    return lambda forge: forge.prune("acme", first, last, **more)


def quiet(hours):
    return lambda forge: forge.quiet(hours)


def spoil(kind):
    """Other bytes where objects of the chunk of seq 3 lie."""
    def step(forge):
        path = forge.directory / ("events/workspace=acme/date=2026-11-23/hour=15/"
                                  f"00000000000000000003-00000000000000000004{kind}.parquet")
        path.write_bytes(b"other")
    return step


def lies():
    """Other lines for a record over the second and the third chunk."""
    late = time_text(LAST_OF_FIRST_HOUR + 1)
    for name, values in {
        "origin": ("ledger.example.com/other", "/"), "workspace": ("beta", "ghost", "Acme"),
        "first_seq": (0, 2, 4, 5, 6, "03", 2**63), "last_seq": (2, 4, 6, 7, 9, 10, 2**63 - 1, 2**63),
        "chunks": (0, 1, 3, 2**63, "two"), "manifests_root": (ZERO, "00", ZERO[:-1] + "A"),
        "last_recorded_at": (late, late[:-2] + "Z", "never"),
        "keep_days": (2**63 - 1, 2**63, -1, "007"), "policy_sha256": (ZERO, ZERO[1:]),
        "reason": ("", " x", "x ", "x" * 1024, "x" * 1025, "\u00fc" * 513, "a\u0085b", "z\u00fc"),
    }.items():
        for value in values:
            yield f"{name} {value}"[:40], {name: value}
    for name, change in (
        ("a line more", lambda text: text + "more 1\n"),
        ("a line less", lambda text: text.replace("keep_days 0\n", "")),
        ("another order", lambda text: text.replace("first_seq 3\nlast_seq 5", "last_seq 5\nfirst_seq 3")),
        ("another version", lambda text: text.replace("/v1", "/v2")),
    ):
        yield name, {"change": change}


def cases():
    """(name, what is done late, days that the auditor asks for, more of the forge)."""
    for (first, _), (_, last) in combinations_with_replacement(CHUNKS, 2):
        for erase, amend_late in ((False, False), (True, False), (True, True)):
            for logged, removed in ((True, True), (True, False), (False, True)):
                step = prune(first, last, logged=logged, removed=removed)
                more = {"erase": erase, "amend_late": amend_late}
                yield f"{first} to {last} {more} {logged} {removed}", [step], 0, more
    for name, lie in lies():
        for removed in (True, False):
            yield name, [prune(3, 5, removed=removed, **lie)], 0, {}
    for lie in ({"first_seq": 4}, {"last_seq": 6}, {"first_seq": 4, "last_seq": 6}):
        yield f"3 to 7 but {lie}", [prune(3, 7, **lie)], 0, {}
    for erase, endings in ((False, ("",)), (True, ("", ".e1", ".e2"))):
        for ending in endings:
            for step in (prune(3, 5), prune(5, 5)):
                yield f"other bytes {ending}", [step, spoil(ending)], 0, {"erase": erase}
    for one, two in (((3, 4), (3, 4)), ((3, 5), (5, 5)), ((5, 5), (3, 7)), ((3, 4), (5, 5)),
                     ((6, 7), (3, 4)), ((3, 4), (6, 7))):
        yield f"{one} {two}", [prune(*one), prune(*two)], 0, {}
        yield f"{one} quiet {two}", [prune(*one), quiet(2), prune(*two)], 0, {}
    for first, last in ((3, 4), (5, 5), (6, 7), (9, 9)):
        for at in range(LEAVES):
            yield f"{first} to {last} at {at}", [prune(first, last)], 0, {"move_last": at}
    for hours in (0, 22, 23, 46, 47):
        for keep in (0, 1, 2):
            for least in (0, 1, 2, 184):
                steps = [quiet(hours), prune(3, 5, keep_days=keep), quiet(48)]
                yield f"{hours} {keep} {least}", steps, least, {}
    for key in (SEAL, THIEF):
        yield "signed by another", [prune(3, 4)], 0, {"leaf_keys": {LEAVES: key}}


def judge(directory, least):
    try:
        summary = Audit(Archive(directory), trust(acme=[ROOT], beta=[ROOT]), least).run()
    except Bad as error:
        return {"verdict": str(error)}
    of = summary["workspaces"]
    gone = any(workspace["pruned"]["chunks"] for workspace in of.values())
    erased = any(workspace["erased"] for workspace in of.values())
    return {
        "verdict": "short" if gone or erased or summary["unlogged"] else "intact",
        "early": bool(summary["pruned_early"]), "events": summary["events"],
        "pruned": {name: workspace["pruned"] for name, workspace in of.items()},
        "missing": {name: workspace["missing_counters"] for name, workspace in of.items()},
    }


def build(directory, steps, erase=False, **more):
    forge = honest(erase)
    forge.late = steps
    for name, value in more.items():
        setattr(forge, name, value)
    forge.seal(directory)


def main(target):
    found = []
    for at, (name, steps, least, more) in enumerate(cases()):
        directory = Path(target) / str(at)
        build(directory / "archive", steps, **more)
        text = trust_file([SEAL], [])
        (directory / "trust.toml").write_text(text, encoding="utf-8")
        found.append({"case": name, "min_kept_days": least, **judge(directory / "archive", least)})
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
