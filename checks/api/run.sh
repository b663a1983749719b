#!/usr/bin/env bash
# Asks the running service by its own description, with schemathesis: no 5xx, and no answer that the
# description does not have. Needs the programs of `cargo build --bins` and, in PATH, schemathesis
# of requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
command -v st >/dev/null || {
    echo "schemathesis is not installed: pip install -r checks/api/requirements.txt" >&2
    exit 2
}
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=hooks
# It leaves notes where it runs.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$target/debug/tally-with-service" bash -c \
    'exec st --config-file "$0/schemathesis.toml" run "$API_URL/openapi.json" "$@"' "$here" "$@"
