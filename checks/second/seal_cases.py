"""Archives in which seal keys change, are stolen and revoked, honest ones and forged ones, for another
verifier to judge.

    python seal_cases.py DIRECTORY

Writes DIRECTORY/<n>/archive and trust.toml for each case, and prints a JSON list of [case, verdict of this
verifier]."""

import json
import sys
import tempfile
import tomllib
from pathlib import Path

from archive import Archive
from forge import ORIGIN, RECEIPT, SEAL, Forge, Key, revocation, succession, vkey
from primitives import Bad, vkey_text
from verify import Audit

ROOT, AGENT, SECOND, THIRD, THIEF = map(Key, ("root", "agent", "second", "third", "thief"))
MINUTE = 60_000_000
LEAVES = 5  # two chunks of the first hour, its note, a chunk of the second, its note


def second(_):
    return succession(SEAL, SECOND)


def behind(forge):
    return revocation(SEAL, len(forge.notes), forge.root(), SECOND)


def cases():
    """(name, changes, keys of leaves, key of the checkpoint, trusted keys, revoked keys)."""
    rotated = cutoffs()
    for at in range(LEAVES + 1):
        change = {at: (second, (SEAL, SECOND), SECOND)}
        for keys in ([SEAL], [SECOND], [THIEF], [THIEF, SECOND]):
            yield f"at {at}", change, {}, None, keys, []
        for leaf, key in ((at - 1, SECOND), (at + 1, SEAL)):
            if 0 <= leaf <= LEAVES:
                for keys in ([SEAL], [SECOND]):
                    yield f"at {at}, leaf {leaf}", change, {leaf: key}, None, keys, []
        yield f"at {at}, old checkpoint", change, {}, SEAL, [SEAL, SECOND], []
        for signers in ((SEAL,), (SECOND,), (THIEF, SECOND)):
            yield f"at {at}, half signed", {at: (second, signers, SECOND)}, {}, None, [SEAL], []
        stolen = {at: (behind, (SECOND,), SECOND)}
        for keys in ([SEAL], [SECOND], [SEAL, SECOND]):
            yield f"revoked at {at}", stolen, {}, None, keys, []
            if at < LEAVES:
                yield f"revoked at {at}, signs on", stolen, {at + 1: SEAL}, None, keys, []
        yield f"revoked at {at}, old checkpoint", stolen, {}, SEAL, [SECOND], []
        thief = {at: (lambda _: succession(SEAL, THIEF), (SEAL, THIEF), THIEF)}
        for keys, revoked in (([SEAL], []), ([SECOND], []), ([SEAL], rotated), ([SECOND], rotated)):
            yield f"thief at {at}", thief, {}, None, keys, revoked
    change = {2: (second, (SEAL, SECOND), SECOND)}
    for size in range(1, LEAVES + 3):
        revoked = [(SEAL, size, rotated[0][2])]
        yield f"cut-off at {size}", change, {}, None, [SECOND], revoked
    later = lambda forge: revocation(SEAL, 3, forge.root(3), SECOND)  # noqa: E731
    off = lambda forge: revocation(SEAL, 2, forge.root(2), SECOND)  # noqa: E731
    for body in (later, off):
        for signer in (SECOND, SEAL, THIEF):
            for keys, revoked in (([SECOND], []), ([SEAL], rotated), ([SEAL], [])):
                changes = change | {LEAVES + 1: (body, (signer,), SECOND)}
                yield "revoked later", changes, {}, None, keys, revoked
    for body in (lambda _: succession(SECOND, SEAL), lambda _: succession(SECOND, THIRD),
                 lambda _: succession(SEAL, THIRD)):
        changes = change | {4: (body, (SEAL, SECOND, THIRD), THIRD)}
        for keys in ([SEAL], [SECOND], [THIRD]):
            yield "twice", changes, {}, None, keys, []


def honest():
    forge = Forge()
    forge.create("acme", ROOT)
    forge.ledger("acme", "key_registered", ROOT, MINUTE, key=AGENT.text, role="agent")
    forge.submit("acme", AGENT, 2 * MINUTE, forge.event("acme"))
    forge.submit("acme", AGENT, 70 * MINUTE, forge.event("acme"))
    forge.create("beta", ROOT, at=2 * MINUTE)
    return forge


def cutoffs():
    """The first key's cut-off where the second takes over at leaf 2."""
    with tempfile.TemporaryDirectory() as directory:
        forge = honest()
        forge.changes[2] = (second, (SEAL, SECOND), SECOND)
        forge.seal(directory)
        return [(SEAL, 3, forge.root(3))]


def trust_file(keys, revoked):
    lines = [f'origin = "{ORIGIN}"', f"seal_keys = {json.dumps([vkey(key) for key in keys])}",
             f'receipt_keys = ["{vkey_text(ORIGIN + "/receipt", RECEIPT.public)}"]']
    for key, size, root in revoked:
        lines += ["[[revoked]]", f'key = "{vkey(key)}"', f"size = {size}", f'root = "{root}"']
    return "\n".join([*lines, "[workspaces.acme]", f'root_keys = ["{ROOT.text}"]',
                      "[workspaces.beta]", f'root_keys = ["{ROOT.text}"]', ""])


def judge(directory, keys, revoked):
    trust = tomllib.loads(trust_file(keys, revoked))
    try:
        summary = Audit(Archive(directory / "archive"), trust).run()
    except Bad as error:
        return str(error)
    return "rests on a revoked key" if summary["rests_on_revoked"] else "intact"


def main(target):
    found = []
    for at, (name, changes, leaves, checkpoint, keys, revoked) in enumerate(cases()):
        directory = Path(target) / str(at)
        forge = honest()
        forge.changes, forge.leaf_keys, forge.checkpoint_key = dict(changes), leaves, checkpoint
        forge.seal(directory / "archive")
        (directory / "trust.toml").write_text(trust_file(keys, revoked), encoding="utf-8")
        found.append([name, judge(directory, keys, revoked)])
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
