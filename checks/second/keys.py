"""Which keys may sign in a workspace, as its own chain sets them (docs/spec/keys.md)."""

from payload import TEXT_BYTES, Refused, is_text, micros, public_id
from primitives import key_of

ROLES = ("root", "agent", "custodian")
ROOT_KEYS = 8


class Keys:
    def __init__(self, workspace):
        self.workspace = workspace
        self.in_force = {}  # key -> (role, actor_id)
        self.known = set()  # every key that was ever registered
        self.erased = []  # event_ids that the newest submission allows to be withheld

    def take(self, seq, key, events, pinned):
        """Checks one submission against the keys in force, applies it, returns the signer's role.

        An event is (columns, context), or None where its payload is withheld.
        """
        if seq == 1:
            self._create(key, events, pinned)
            return "root"
        if key not in self.in_force:
            raise Refused("signed by a key that is not in force")
        role, actor = self.in_force[key]
        for event in events:
            if event is None:
                continue
            columns, context = event
            if actor is not None and columns.get("actor_id", actor) != actor:
                raise Refused(f"a key of {actor} signed for {columns['actor_id']}")
            if columns["event_type"].startswith("ledger."):
                if role != "root":
                    raise Refused("a ledger. event that is not signed by a root key")
                if len(events) != 1:
                    raise Refused("a ledger. event does not stand alone")
                self._apply(columns["event_type"], context)
        return role

    def _create(self, key, events, pinned):
        if len(events) != 1 or events[0] is None \
                or events[0][0]["event_type"] != "ledger.workspace_created":
            raise Refused("seq 1 is not a ledger.workspace_created that stands alone")
        texts = members(events[0][1], "root_keys")["root_keys"]
        if not isinstance(texts, list) or not 1 <= len(texts) <= ROOT_KEYS:
            raise Refused(f"root_keys is not a list of one to {ROOT_KEYS} keys")
        keys = {key_of(text) if is_text(text) else None for text in texts}
        if None in keys or len(keys) != len(texts):
            raise Refused("root_keys holds something else than different keys")
        if key not in keys:
            raise Refused("ledger.workspace_created is not signed by one of its root keys")
        if pinned is not None and keys != {key_of(text) for text in pinned}:
            raise Refused("not the root keys that the trust file names")
        self.in_force = {k: ("root", None) for k in keys}
        self.known = set(keys)

    def _apply(self, kind, context):
        if kind == "ledger.key_registered":
            values = members(context, "key", "role", optional=("actor_id",))
            key = text_key(values["key"])
            if not is_text(values["role"]) or values["role"] not in ROLES:
                raise Refused(f"role is none of {', '.join(ROLES)}")
            if key in self.known:
                raise Refused("registers a key that is in force or was revoked")
            actor = values.get("actor_id")
            if actor is not None and len(text(actor).encode()) > TEXT_BYTES:
                raise Refused(f"actor_id has more than {TEXT_BYTES} bytes")
            self.in_force[key] = values["role"], actor
            self.known.add(key)
        elif kind == "ledger.key_revoked":
            values = members(context, "key", "reason", optional=("compromised_since",))
            key = text_key(values["key"])
            text(values["reason"])
            if "compromised_since" in values:
                micros(text(values["compromised_since"]))
            if key not in self.in_force:
                raise Refused("revokes a key that is not in force")
            roots = [k for k, (role, _) in self.in_force.items() if role == "root"]
            if roots == [key]:
                raise Refused("revokes the last root key in force")
            del self.in_force[key]
        elif kind == "ledger.payload_erased":
            values = members(context, "event_ids", "reason")
            text(values["reason"])
            if not isinstance(values["event_ids"], list) or not values["event_ids"]:
                raise Refused("event_ids is not a list of UUIDs")
            self.erased = [public_id(value) for value in values["event_ids"]]
        else:
            raise Refused(f"{kind} after seq 1")


def members(context, *required, optional=()):
    """The members of a ledger. event's context: exactly these; null counts as absent."""
    context = context or {}
    present = {name: value for name, value in context.items() if value is not None}
    if set(required) - present.keys() or context.keys() - {*required, *optional}:
        raise Refused(f"context has {sorted(context)}, not {sorted(required)}")
    return present


def text(value):
    if not is_text(value):
        raise Refused(f"{value!r} is not text")
    return value


def text_key(value):
    return key_of(text(value))
