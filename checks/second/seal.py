"""The seal keys of a log: which is in force where, and whether trust reaches the last of them
(docs/spec/seal-keys.md)."""

import primitives as p
from primitives import Bad

SUCCESSION, REVOCATION = "tallystick/succession/v1", "tallystick/revocation/v1"
LINES = {
    SUCCESSION: ["origin", "old_key", "new_key", "reason"],
    REVOCATION: ["origin", "key", "size", "root", "new_key", "reason"],
}


def check_reason(reason, where):
    """A reason in words, as every note that has one spells it."""
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in reason):
        raise Bad(f"{where}: control character in the reason")
    if reason != reason.strip() or len(reason.encode()) > 1024:
        raise Bad(f"{where}: a reason of over 1,024 bytes, or with white space around it")
    return reason


def key_note(text, origin, where):
    """The values of a note about seal keys, its keys read; None for another kind."""
    kind = text.split("\n", 1)[0]
    if kind not in LINES:
        return None
    values = p.fields(text, kind, LINES[kind], where)
    if values["origin"] != origin:
        raise Bad(f"{where}: of the ledger {values['origin']}")
    old = values["old_key" if kind == SUCCESSION else "key"]
    try:
        keys = p.vkey_of(old), p.vkey_of(values["new_key"])
    except ValueError as error:
        raise Bad(f"{where}: not a verifier key") from error
    if any(name != origin for name, _ in keys) or keys[0] == keys[1]:
        raise Bad(f"{where}: not two seal keys of this ledger")
    check_reason(values["reason"], where)
    return kind, *keys, values


class Tree:
    """The roots of a log's growing tree, from the hashes of all its leaves."""

    def __init__(self, leaves):
        self.hashes = [p.leaf_hash(leaf) for leaf in leaves]

    def root(self, size):
        return p.root(self.hashes[:size]).hex()


class Line:
    """Each key with the number of leaves before its time and how it came into force."""

    def __init__(self, origin, trusted, revoked):
        self.origin, self.trusted = origin, trusted
        self.cutoffs = {key: (size, root) for key, size, root in revoked}
        self.terms = []
        self.stolen = []  # keys that the log itself revokes

    def known(self):
        return [*self.trusted, *self.cutoffs]

    def follow(self, leaves):
        """Checks who signed each leaf; gives their texts."""
        notes = [p.read_note(leaf, f"log leaf {at}") for at, leaf in enumerate(leaves)]
        tree = Tree(leaves)
        for key, (size, root) in self.cutoffs.items():
            if len(leaves) < size:
                raise Bad(f"log/checkpoint: ends before the cut-off of {p.vkey_text(*key)}")
            if tree.root(size) != root:
                raise Bad(f"log leaf {size - 1}: another log than up to the cut-off of "
                          f"{p.vkey_text(*key)}")
        if notes:
            self.terms = [(self.first_key(notes), 0, None)]
        for index, note in enumerate(notes):
            self.take(index, note, tree)
        return [note.text for note in notes]

    def first_key(self, notes):
        for at, note in enumerate(notes):
            read = key_note(note.text, self.origin, f"log leaf {at}")
            if read:
                return read[1]
        signed = [key for key in self.known() if notes[0].signed_by(key)]
        if not signed:
            raise Bad("log leaf 0: not signed by a trusted key")
        return signed[0]

    def take(self, index, note, tree):
        where = f"log leaf {index}"
        now = self.terms[-1][0]
        cutoff = self.cutoffs.get(now)
        if cutoff and cutoff[0] <= index and note.signed_by(now):
            raise Bad(f"{where}: signed by a revoked key past its cut-off")
        read = key_note(note.text, self.origin, where)
        if read is None:
            if not note.signed_by(now):
                raise Bad(f"{where}: not signed by the key in force")
            return
        kind, old, new, values = read
        here = [key for key, _, _ in self.terms]
        if kind == SUCCESSION:
            if old != now or new in here:
                raise Bad(f"{where}: not a succession from the key in force to a new one")
            if not (note.signed_by(old) and note.signed_by(new)):
                raise Bad(f"{where}: not signed by both keys")
            self.terms.append((new, index + 1, SUCCESSION))
            return
        cutoff = p.number(values["size"], where), p.hash_text(values["root"], where)
        if old == now:
            if new in here:
                raise Bad(f"{where}: a key comes back")
            self.terms.append((new, index, REVOCATION))
        elif old not in here or old in self.stolen or new != now:
            raise Bad(f"{where}: revokes what cannot be revoked, or is not by the key in force")
        end = self.terms[[key for key, _, _ in self.terms].index(old) + 1][1]
        if cutoff != (end, tree.root(end)):
            raise Bad(f"{where}: another cut-off than where the key's time ends")
        if not note.signed_by(new):
            raise Bad(f"{where}: not signed by the key in force behind it")
        self.stolen.append(old)

    def judge(self, checkpoint, where):
        """The checkpoint is signed by the last key, and trust reaches that. Gives the stolen keys
        that it reaches it by."""
        if not self.terms:
            if not any(checkpoint.signed_by(key) for key in self.known()):
                raise Bad(f"{where}: not signed by a trusted key")
            return []
        if not checkpoint.signed_by(self.terms[-1][0]):
            raise Bad(f"{where}: not signed by the key in force")
        reached = [at for at, (key, _, _) in enumerate(self.terms) if key in self.known()]
        if not reached:
            raise Bad(f"{where}: no trusted key is a key of the log")
        if any(entrance == REVOCATION for _, _, entrance in self.terms[reached[-1] + 1:]):
            raise Bad(f"{where}: only a revocation leads to its key, which anyone can write")
        carriers = [key for key, _, _ in self.terms[reached[-1]:-1]]
        return [p.vkey_text(*key) for key in carriers
                if key in self.stolen and key not in self.cutoffs]
