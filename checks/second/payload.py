"""The rules of an event payload, and the columns that are derived from it.

A second implementation, written from the text of the format (docs/spec/payload.md): it shares no
code with the ledger. Python's own json module does the grammar; what it is lax about (duplicate
members, depth, U+0000, lone surrogates, number forms) is checked here.
"""

import datetime
import json
import re
import uuid
from decimal import Decimal

PAYLOAD_BYTES_CEILING = 1 << 20
DEPTH = 32
TEXT_BYTES = 1024
I64_MAX = 2**63 - 1

TEXTS = (
    "session_id", "actor_id", "source", "model", "prompt_hash", "error_type", "tool_name",
    "status", "provider", "trace_id", "span_id", "agent_version", "on_behalf_of", "salt",
)
INTEGERS = ("input_tokens", "output_tokens", "latency_ms")
MONEY = ("unit_cost_input", "unit_cost_output")
REQUIRED = ("event_id", "event_type", "occurred_at", "workspace_id")
MEMBERS = {*REQUIRED, *TEXTS, *INTEGERS, *MONEY, "parent_event_id", "success", "context"}

# Members that a core type needs beyond the required ones.
NEEDS = {"tool_call": ("tool_name", "status"), "llm_call": ("model",), "error": ("error_type",)}
TOOL_STATUS = ("success", "failure", "timeout")
LEDGER_TYPES = (
    "ledger.workspace_created", "ledger.key_registered", "ledger.key_revoked",
    "ledger.payload_erased",
)

UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
INTEGER_TEXT = re.compile(r"0|[1-9][0-9]*")
NUMBER_TEXT = re.compile(r"(?P<minus>-?)(?P<whole>0|[1-9][0-9]*)"
                         r"(\.(?P<fraction>[0-9]+))?([eE](?P<exponent>[-+]?[0-9]+))?")
TIME_TEXT = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
                       r"(?:\.([0-9]{1,9}))?(?:Z|([-+])([0-9]{2}):([0-9]{2}))")
TYPE_TEXT = re.compile(r"[a-z0-9_.]{1,64}")
IDS = {"trace_id": re.compile(r"[0-9a-f]{32}"), "span_id": re.compile(r"[0-9a-f]{16}")}

MICROS = 1_000_000
EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
END_OF_TIME = (datetime.date(9999, 12, 31).toordinal() - EPOCH_DAY + 1) * 86_400 * MICROS


class Refused(Exception):
    """The payload breaks a rule of the format."""


class Number(str):
    """A number of the payload, as it is written: no number ever passes through a float."""


def micros(text):
    """RFC 3339 text as microseconds since 1970, further digits cut off."""
    match = TIME_TEXT.fullmatch(text)
    if not match:
        raise Refused(f"{text!r} is not a time of the form 2026-11-23T16:00:00Z")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    fraction, sign, off_hour, off_minute = match.groups()[6:]
    offset = int(off_hour or 0) * 60 + int(off_minute or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise Refused(f"{text!r} is no time of day")
    if int(off_hour or 0) > 23 or int(off_minute or 0) > 59:
        raise Refused(f"{text!r} is offset by a day or more")
    if year < 1970:
        raise Refused(f"{text!r} lies before 1970")
    try:
        days = datetime.date(year, month, day).toordinal() - EPOCH_DAY
    except ValueError as error:
        raise Refused(f"{text!r} is no date") from error
    seconds = days * 86_400 + hour * 3_600 + minute * 60 + second
    seconds += offset * 60 if sign == "-" else -offset * 60
    value = seconds * MICROS + int((fraction or "").ljust(9, "0")[:6])
    if not 0 <= value < END_OF_TIME:
        raise Refused(f"{text!r} lies outside the years 1970 to 9999 in UTC")
    return value


def money(text):
    """A JSON number as an exact decimal with nine fraction digits; decided by its value."""
    match = NUMBER_TEXT.fullmatch(text)
    if not match or match["minus"]:
        raise Refused(f"{text!r} is not a JSON number without a sign")
    fraction = match["fraction"] or ""
    digits = (match["whole"] + fraction).lstrip("0")
    if not digits:
        return Decimal("0.000000000")
    # value = significant x 10^power, significant with no zero at either end
    significant = digits.rstrip("0")
    exponent = match["exponent"] or "0"
    if len(exponent.lstrip("+-").lstrip("0")) > 9:
        raise Refused(f"{text!r} has an exponent out of any range")
    power = int(exponent) - len(fraction) + len(digits) - len(significant)
    if power < -9 or len(significant) + power > 9:
        raise Refused(f"{text!r} needs more than 9 integer or 9 fraction digits")
    return Decimal(int(significant) * 10 ** (power + 9)).scaleb(-9)


def public_id(text):
    """UUID text as its 16 bytes."""
    if not isinstance(text, str) or isinstance(text, Number) or not UUID_TEXT.fullmatch(text):
        raise Refused(f"{text!r} is not a UUID of the form 8-4-4-4-12")
    value = uuid.UUID(text).bytes
    if value == bytes(16):
        raise Refused("the nil UUID names nothing")
    return value


def parse(payload, ceiling=PAYLOAD_BYTES_CEILING):
    """The payload's members, null ones dropped at the top level; numbers as `Number`."""
    if len(payload) > ceiling:
        raise Refused(f"{len(payload)} bytes, more than {ceiling}")
    if payload[:1] != b"{" or payload[-1:] != b"}":
        raise Refused("the first byte is not { or the last is not }")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"not UTF-8: {error}") from error
    _check_depth(text)
    try:
        members = json.loads(text, object_pairs_hook=_object, parse_int=Number,
                             parse_float=Number, parse_constant=_constant)
    except ValueError as error:
        raise Refused(f"not JSON: {error}") from error
    _check_strings(members)
    return {name: value for name, value in members.items() if value is not None}


def _check_depth(text):
    """Python's parser has no limit of its own but the stack."""
    depth, inside, escaped = 0, False, False
    for char in text:
        if inside:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                inside = False
        elif char == '"':
            inside = True
        elif char in "[{":
            depth += 1
            if depth > DEPTH:
                raise Refused(f"nested deeper than {DEPTH}")
        elif char in "]}":
            depth -= 1


def _object(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused("a member name occurs twice in one object")
    return members


def _constant(name):
    raise Refused(f"{name} is no JSON")


def _check_strings(value):
    if isinstance(value, str):
        if "\0" in value:
            raise Refused("U+0000 in a string")
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise Refused("lone surrogate in a string")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_strings(name)
            _check_strings(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_strings(inner)


def is_text(value):
    """Whether a parsed value was a JSON string."""
    return isinstance(value, str) and not isinstance(value, Number)


def text_of(name, value):
    """A text member, within its limit."""
    if not is_text(value):
        raise Refused(f"{name} is not text")
    if len(value.encode()) > TEXT_BYTES:
        raise Refused(f"{name} has more than {TEXT_BYTES} bytes")
    if name in IDS and not IDS[name].fullmatch(value):
        raise Refused(f"{name} is not {32 if name == 'trace_id' else 16} lower-case hex digits")
    return value


def check(payload, workspace):
    """The payload's columns, and its `context`; raises `Refused`."""
    members = parse(payload)
    unknown = members.keys() - MEMBERS
    if unknown:
        raise Refused(f"unknown members {sorted(unknown)}")
    columns = {}
    for name in REQUIRED:
        if name not in members:
            raise Refused(f"{name} is missing")
    columns["event_id"] = public_id(members["event_id"])
    kind = members["event_type"]
    if not is_text(kind) or not TYPE_TEXT.fullmatch(kind):
        raise Refused(f"event_type {kind!r}")
    columns["event_type"] = kind
    if not is_text(members["occurred_at"]):
        raise Refused("occurred_at is not text")
    columns["occurred_at"] = micros(members["occurred_at"])
    if not is_text(members["workspace_id"]) or members["workspace_id"] != workspace:
        raise Refused(f"workspace_id is not {workspace}")
    for name in TEXTS:
        if name in members:
            columns[name] = text_of(name, members[name])
    for name in INTEGERS:
        if name in members:
            value = members[name]
            if not isinstance(value, Number) or not INTEGER_TEXT.fullmatch(value) \
                    or len(value) > 19 or int(value) > I64_MAX:
                raise Refused(f"{name} is not an integer from 0 to 2^63-1 in plain digits")
            columns[name] = int(value)
    for name in MONEY:
        if name in members:
            if not isinstance(members[name], str):
                raise Refused(f"{name} is no number")
            columns[name] = money(members[name])
    if "success" in members:
        if not isinstance(members["success"], bool):
            raise Refused("success is not true or false")
        columns["success"] = members["success"]
    if "parent_event_id" in members:
        columns["parent_event_id"] = public_id(members["parent_event_id"])
    if "context" in members and not isinstance(members["context"], dict):
        raise Refused("context is not an object")
    for name in NEEDS.get(kind, ()):
        if name not in columns:
            raise Refused(f"{kind} needs {name}")
    if kind == "tool_call" and columns["status"] not in TOOL_STATUS:
        raise Refused(f"status is none of {', '.join(TOOL_STATUS)}")
    if kind.startswith("ledger.") and kind not in LEDGER_TYPES:
        raise Refused(f"event_type {kind} is reserved")
    columns.pop("salt", None)
    return columns, members.get("context")
