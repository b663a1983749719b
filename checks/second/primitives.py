"""Hashes, trees, keys, signatures, signed notes and times of the format.

A second implementation, written from docs/spec/: it shares no code with the ledger.
"""

import base64
import binascii
import datetime
import hashlib
import re
import struct
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from payload import MICROS, Refused, micros

ZERO = "0" * 64
HOUR = 3_600 * MICROS
NOTE_BYTES = 65_535
NOTE_SIGNATURES = 128


class Bad(Exception):
    """A discrepancy: what, and where."""


def sha(data):
    return hashlib.sha256(data).digest()


# Names -------------------------------------------------------------------------------------------

WORKSPACE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
ORIGIN = re.compile(r"[a-z0-9.\-_/]{1,128}")


def is_origin(text):
    return bool(ORIGIN.fullmatch(text)) and all(s not in ("", ".", "..") for s in text.split("/"))


# Entry, leaf, link -------------------------------------------------------------------------------


def statement(origin, workspace, counter, digests):
    lines = ["tallystick/submission/v1", origin, workspace, str(counter), str(len(digests))]
    return "".join(line + "\n" for line in lines + [d.hex() for d in digests]).encode()


def submission_hash(public_key, signature, text):
    return sha(b"\x04" + public_key + signature + sha(text))


def entry(seq, recorded_at, event_id, digest, submission, index, count):
    return (b"\x01" + struct.pack(">Qq", seq, recorded_at) + event_id + digest + submission
            + struct.pack(">HH", index, count))


def leaf_hash(data):
    return sha(b"\x00" + data)


def genesis_link(origin, workspace):
    return sha(b"\x03" + f"tallystick/genesis/v1\n{origin}\n{workspace}\n".encode())


def next_link(previous, leaf):
    return sha(b"\x02" + previous + leaf)


# Merkle tree (RFC 6962) --------------------------------------------------------------------------


def node(left, right):
    return sha(b"\x01" + left + right)


def split(n):
    """Largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


def root(leaves):
    if not leaves:
        return sha(b"")
    # Level by level: a last odd node moves up as it is, which is the split of the RFC.
    while len(leaves) > 1:
        pairs = [node(leaves[i], leaves[i + 1]) for i in range(0, len(leaves) - 1, 2)]
        leaves = pairs + leaves[len(pairs) * 2:]
    return leaves[0]


def inclusion_path(leaves, index):
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return inclusion_path(leaves[:k], index) + [root(leaves[k:])]
    return inclusion_path(leaves[k:], index - k) + [root(leaves[:k])]


def consistency_path(leaves, old, whole=True):
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if old <= k:
        return consistency_path(leaves[:k], old, whole) + [root(leaves[k:])]
    return consistency_path(leaves[k:], old - k, False) + [root(leaves[:k])]


# Ed25519, strict ---------------------------------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def _small_order():
    """The eight canonical encodings of points of small order."""
    # Order 8: y^2 = (-1 +- sqrt(1 + d)) / d, both signs of x; the others have y = 1, -1 or 0.
    found = {(1).to_bytes(32, "little"), (P - 1).to_bytes(32, "little"), bytes(32),
             (1 << 255).to_bytes(32, "little")}
    for base in (_sqrt(1 + D), P - _sqrt(1 + D)):
        y = _sqrt((base - 1) * pow(D, -1, P) % P)
        if y is not None:
            for value in (y, P - y):
                found |= {value.to_bytes(32, "little"), (value | 1 << 255).to_bytes(32, "little")}
    return found


def _sqrt(a):
    """A square root modulo P, or None."""
    a %= P
    x = pow(a, (P + 3) // 8, P)
    if x * x % P != a:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x * x % P == a else None


SMALL_ORDER = _small_order()


@lru_cache(maxsize=4096)
def refused_key(key):
    """Why a public key is refused, or None."""
    if len(key) != 32:
        return "a key has 32 bytes"
    y = int.from_bytes(key, "little") & (1 << 255) - 1
    if y >= P:
        return "not canonical"
    if key in SMALL_ORDER:
        return "small order"
    # x = 0 only at y = 1 and y = -1: with the sign bit set they are not canonical.
    if y in (1, P - 1):
        return "not canonical"
    if _sqrt((y * y - 1) * pow(D * y * y + 1, -1, P)) is None:
        return "not a point"
    return None


def verify(key, signature, message):
    """Strict: canonical key and S, neither key nor R of small order, R compared by its bytes."""
    if refused_key(key) or len(signature) != 64:
        return False
    if signature[:32] in SMALL_ORDER or int.from_bytes(signature[32:], "little") >= ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def key_of(text):
    """The 32 bytes of `ed25519:...`."""
    match = re.fullmatch(r"ed25519:([A-Za-z0-9_-]{43})", text)
    if not match:
        raise Refused(f"{text!r} is not a public key")
    key = base64.urlsafe_b64decode(match[1] + "=")
    if key_text(key) != text or refused_key(key):
        raise Refused(f"{text!r} is refused: {refused_key(key) or 'not canonical base64'}")
    return key


def key_text(key):
    return "ed25519:" + base64.urlsafe_b64encode(key).decode().rstrip("=")


# Signed notes (C2SP signed-note) -----------------------------------------------------------------


def key_id(name, key):
    return sha(name.encode() + b"\n\x01" + key)[:4]


def vkey_text(name, key):
    return f"{name}+{key_id(name, key).hex()}+" + base64.b64encode(b"\x01" + key).decode()


def vkey_of(text):
    """(name, key) of a verifier key."""
    name, ident, encoded = text.split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    if len(raw) != 33 or raw[0] != 1 or refused_key(raw[1:]):
        raise Bad(f"{text}: not an Ed25519 verifier key, or a key that is refused")
    if vkey_text(name, raw[1:]) != text:
        raise Bad(f"{text}: the key id is not that of the name and the key")
    return name, raw[1:]


class Note:
    """A signed note, read and not yet believed."""

    def __init__(self, text, signatures):
        self.text = text  # with its last line end
        self.signatures = signatures  # (name, key id, signature)

    def signed_by(self, vkey):
        """Whether this key has signed, and nothing that passes for its signature is wrong."""
        name, key = vkey
        found = [raw for who, ident, raw in self.signatures
                 if (who, ident) == (name, key_id(name, key))]
        return bool(found) and all(verify(key, raw, self.text.encode()) for raw in found)


def read_note(data, where):
    """A note by its form."""
    if len(data) > NOTE_BYTES:
        raise Bad(f"{where}: a note of {len(data)} bytes, more than {NOTE_BYTES}")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Bad(f"{where}: not UTF-8") from error
    body, gap, signatures = whole.rpartition("\n\n")
    if not gap or not signatures.endswith("\n") or signatures == "\n":
        raise Bad(f"{where}: not a signed note")
    if any(char < " " and char != "\n" for char in whole):
        raise Bad(f"{where}: control character in a note")
    read, lines = [], signatures[:-1].split("\n")
    if len(lines) > NOTE_SIGNATURES:
        raise Bad(f"{where}: more than {NOTE_SIGNATURES} signatures")
    for line in lines:
        match = re.fullmatch(r"— ([^\s+\x7f-\x9f]+) ([A-Za-z0-9+/]+={0,2})", line)
        if not match:
            raise Bad(f"{where}: {line!r} is not a signature line")
        try:
            raw = base64.b64decode(match[2], validate=True)
        except binascii.Error as error:
            raise Bad(f"{where}: {line!r} is not base64") from error
        if base64.b64encode(raw).decode() != match[2] or len(raw) < 5:
            raise Bad(f"{where}: {line!r} holds no key id and signature in canonical base64")
        read.append((match[1], raw[:4], raw[4:]))
    return Note(body + "\n", read)


def open_note(data, vkeys, where):
    """The text of a note once a key of `vkeys` has signed it."""
    note = read_note(data, where)
    if not any(note.signed_by(vkey) for vkey in vkeys):
        raise Bad(f"{where}: not signed by a trusted key")
    return note.text


def fields(text, kind, names, where):
    """The values of a note's lines, which must be exactly `names` after the line `kind`."""
    lines = text[:-1].split("\n")
    if lines[0] != kind or [line.split(" ", 1)[0] for line in lines[1:]] != names:
        raise Bad(f"{where}: not the lines of {kind}")
    values = {}
    for line in lines[1:]:
        name, gap, value = line.partition(" ")
        if not gap or not value:
            raise Bad(f"{where}: {name} has no value")
        values[name] = value
    return values


def number(text, where):
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", text):
        raise Bad(f"{where}: {text!r} is not a number in plain digits")
    return int(text)


def hash_text(text, where):
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise Bad(f"{where}: {text!r} is not 64 lower-case hex digits")
    return text


# Times -------------------------------------------------------------------------------------------


def time_text(value):
    """Microseconds as RFC 3339 with six fraction digits."""
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=value)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def hour_text(value):
    return time_text(value)[:19] + "Z"


def exact_time(text, where):
    """Microseconds of a note's time line, which has one spelling only."""
    try:
        value = micros(text)
    except Refused as error:
        raise Bad(f"{where}: {error}") from error
    if time_text(value) != text:
        raise Bad(f"{where}: {text!r} does not have six fraction digits and Z")
    return value


def exact_hour(text, where):
    try:
        value = micros(text)
    except Refused as error:
        raise Bad(f"{where}: {error}") from error
    if value % HOUR or hour_text(value) != text:
        raise Bad(f"{where}: {text!r} is not a whole hour")
    return value
