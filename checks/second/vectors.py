"""Recomputes every value of docs/spec/vectors/v1.json. Prints `N passed, N failed`."""

import base64
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import primitives as p
from notes import Manifest, note_of_hour
from payload import Refused, check

FILE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "vectors" / "v1.json"


class Vectors:
    def __init__(self, values):
        self.values = values
        self.origin, self.workspace = values["origin"], values["workspace"]
        self.passed = self.failed = 0
        self.keys = {}

    def same(self, what, found, wanted):
        if found == wanted:
            self.passed += 1
        else:
            self.failed += 1
            print(f"{what}: expected {wanted!r}, found {found!r}", file=sys.stderr)

    def run(self):
        self.check_keys()
        self.check_chain()
        self.check_notes()
        self.check_trees()
        self.check_payloads()
        for item in self.values["refused_keys"]:
            key = bytes.fromhex(item["hex"])
            why = p.refused_key(key) or "accepted"
            self.same(f"refused key {item['hex']}", why,
                      item["why"] if len(key) == 32 else "a key has 32 bytes")

    def check_keys(self):
        for name, pair in self.values["keys"].items():
            private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(pair["seed"]))
            public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.keys[name] = private, public
            self.same(f"public key {name}", p.key_text(public), pair["public"])
            self.same(f"key {name} read back", p.key_of(pair["public"]), public)
        names = {"seal": self.origin, "receipt": self.origin + "/receipt"}
        for role, name in names.items():
            self.same(f"verifier key {role}", p.vkey_text(name, self.keys[role][1]),
                      self.values["vkeys"][role])

    def note(self, text, role):
        private, public = self.keys[role]
        name = self.origin if role == "seal" else f"{self.origin}/{role}"
        raw = p.key_id(name, public) + private.sign(text.encode())
        return f"{text}\n— {name} {base64.b64encode(raw).decode()}\n"

    def check_chain(self):
        link = p.genesis_link(self.origin, self.workspace)
        self.same("genesis link", link.hex(), self.values["genesis_link"])
        self.leaves = []
        for number, item in enumerate(self.values["submissions"]):
            private, public = self.keys[item["signed_by"]]
            payloads = [e["payload"].encode() for e in item["entries"]]
            text = p.statement(self.origin, self.workspace, item["counter"],
                               [p.sha(payload) for payload in payloads])
            signature = private.sign(text)
            name = f"submission {number}"
            self.same(f"{name} statement", text.decode(), item["statement"])
            self.same(f"{name} signature", signature.hex(), item["signature"])
            self.same(f"{name} verifies", p.verify(public, signature, text), True)
            digest = p.submission_hash(public, signature, text)
            self.same(f"{name} hash", digest.hex(), item["submission_hash"])
            for index, (payload, wanted) in enumerate(zip(payloads, item["entries"])):
                place = f"{name} entry {index}"
                columns, _ = check(payload, self.workspace)
                entry = p.entry(wanted["seq"], item["recorded_at"], columns["event_id"],
                                p.sha(payload), digest, index, len(payloads))
                leaf = p.leaf_hash(entry)
                link = p.next_link(link, leaf)
                self.leaves.append(leaf)
                self.same(f"{place} digest", p.sha(payload).hex(), wanted["payload_digest"])
                self.same(f"{place} bytes", entry.hex(), wanted["entry"])
                self.same(f"{place} leaf", leaf.hex(), wanted["leaf"])
                self.same(f"{place} link", link.hex(), wanted["link"])
            receipt = "\n".join([
                "tallystick/receipt/v1", f"origin {self.origin}", f"workspace {self.workspace}",
                f"submission {digest.hex()}", f"first_seq {item['entries'][0]['seq']}",
                f"last_seq {item['entries'][-1]['seq']}",
                f"recorded_at {p.time_text(item['recorded_at'])}", f"link {link.hex()}", "",
            ])
            self.same(f"{name} receipt", self.note(receipt, "receipt"), item["receipt"])
        self.link = link

    def check_notes(self):
        seal = [(self.origin, self.keys["seal"][1])]
        manifest = self.values["manifest"]
        text = p.open_note(manifest.encode(), seal, "manifest")
        self.same("manifest signed again", self.note(text, "seal"), manifest)
        parsed = Manifest(text, self.origin, "manifest")
        self.same("manifest root", parsed.root, p.root(self.leaves).hex())
        self.same("manifest last link", parsed.last_link, self.link.hex())
        self.same("manifest object", parsed.object, parsed.object_key())

        hour = self.values["hour"]
        text = p.open_note(hour["note"].encode(), seal, "hour")
        leaves = [p.leaf_hash(head.encode()) for head in hour["heads"]]
        self.same("hour note", self.note(
            note_of_hour(self.origin, parsed.hour, 1, len(leaves), p.root(leaves).hex(), p.ZERO),
            "seal"), hour["note"])

        notes = [manifest, hour["note"]]
        leaves = [p.leaf_hash(note.encode()) for note in notes]
        self.same("log leaves", [leaf.hex() for leaf in leaves], self.values["log"]["leaves"])
        root = base64.b64encode(p.root(leaves)).decode()
        self.same("checkpoint", self.note(f"{self.origin}\n{len(leaves)}\n{root}\n", "seal"),
                  self.values["log"]["checkpoint"])

    def check_trees(self):
        tree = self.values["merkle"]
        leaves = [p.leaf_hash(bytes([i]) * i) for i in range(20)]
        for size, root in tree["roots"].items():
            self.same(f"root of {size}", p.root(leaves[:int(size)]).hex(), root)
        for item in tree["inclusion"]:
            path = p.inclusion_path(leaves[:item["size"]], item["index"])
            self.same(f"inclusion {item['index']} in {item['size']}", hexes(path), item["path"])
        for item in tree["consistency"]:
            path = p.consistency_path(leaves[:item["to"]], item["from"])
            self.same(f"consistency {item['from']} to {item['to']}", hexes(path), item["path"])

    def check_payloads(self):
        for item in self.values["refused_payloads"]:
            self.same(f"refused: {item['why']}", self.decide(item["payload"])[0], False)
        for item in self.values["accepted_payloads"]:
            accepted, columns = self.decide(item["payload"])
            self.same(f"accepted: {item['why']}", accepted, True)
            for name, wanted in item["derived"].items():
                found = columns.get(name)
                self.same(f"{item['why']}: {name}",
                          found if isinstance(wanted, int) else str(found), wanted)

    def decide(self, payload):
        try:
            return True, check(payload.encode(), self.workspace)[0]
        except Refused as error:
            return False, {"refused": str(error)}


def hexes(path):
    return [step.hex() for step in path]


def main():
    vectors = Vectors(json.loads(FILE.read_text(encoding="utf-8")))
    vectors.run()
    print(f"{vectors.passed} passed, {vectors.failed} failed")
    return 1 if vectors.failed else 0


if __name__ == "__main__":
    sys.exit(main())
