"""Lets schemathesis come further than the door: to a workspace that is there, with signatures that
hold. What it makes up is otherwise left as it is.
"""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from os import environ

import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

# The workspace, root key and event that tally-with-service made.
WORKSPACE = "acme"
KEY = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
EVENT = "0195fe3a-7d2c-7bd1-9d0f-3c2b1a098765"
ORIGIN = "ledger.example.com/api"
# The token that reads: whoever revokes it sees nothing from then on.
READER = environ["API_READER_TOKEN"].split("_")[2]
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
SIGNED = {"/v1/workspaces/{workspace}/events", "/v1/workspaces/{workspace}/keys", "/v1/workspaces"}
WELL_FORMED = {
    "Tally-Public-Key": re.compile(r"ed25519:[A-Za-z0-9_-]{43}"),
    "Tally-Signature": re.compile(r"[A-Za-z0-9+/]{86}=="),
}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    """Three names of four that a workspace may have become that of one that is there."""
    found = dict(path_parameters or {})
    name = found.get("workspace")
    if isinstance(name, str) and NAME.fullmatch(name) and len(name) % 4:
        found["workspace"] = WORKSPACE
        if "event_id" in found and len(name) % 4 > 1:
            found["event_id"] = EVENT
    return found


@schemathesis.hook
def before_call(context, case, kwargs):
    """Signs a submission whose headers are well formed: what it holds may still be refused."""
    headers = case.headers or {}
    if (case.path_parameters or {}).get("token_id") == READER:
        case.path_parameters["token_id"] = "0" * len(READER)
    # Its second credential is a signature, so the first one is made up as well.
    if case.operation.path == "/v1/workspaces" and len(headers.get("Authorization", "")) > 12:
        headers["Authorization"] = "Bearer " + environ["API_ADMIN_TOKEN"]
        case.headers = headers
    counter = headers.get("Tally-Counter", "0")
    # Signed, a request that is wrong on purpose could come to be right.
    is_wrong = case.meta is not None and case.meta.generation.mode.is_negative
    if (
        is_wrong
        or case.method.upper() != "POST"
        or case.operation.path not in SIGNED
        or not all(form.fullmatch(str(headers.get(name))) for name, form in WELL_FORMED.items())
        or not isinstance(case.body, dict)
    ):
        return
    workspace = (case.path_parameters or {}).get("workspace", WORKSPACE)
    if "events" in case.body:
        events = case.body["events"]
    else:
        events = [case.body]
    if not isinstance(events, list):
        return
    for event in events:
        name = event.get("workspace_id") if isinstance(event, dict) else None
        # What is wrong on purpose stays wrong.
        if isinstance(name, str) and NAME.fullmatch(name):
            event["workspace_id"] = workspace
    payloads = [json.dumps(event).encode() for event in events]
    if "events" in case.body:
        case.body = b'{"events": [' + b",".join(payloads) + b"]}"
    else:
        case.body = payloads[0]
    lines = ["tallystick/submission/v1", ORIGIN, str(workspace), str(counter), str(len(payloads))]
    lines += [sha256(payload).hexdigest() for payload in payloads]
    statement = "".join(line + "\n" for line in lines).encode()
    key = urlsafe_b64encode(KEY.public_key().public_bytes_raw()).decode().rstrip("=")
    headers["Tally-Public-Key"] = f"ed25519:{key}"
    headers["Tally-Signature"] = b64encode(KEY.sign(statement)).decode()
    case.headers = headers
