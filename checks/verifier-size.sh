#!/usr/bin/env bash
# What the verifier is built from, and how large it is: the figures of docs/verifier-build.md.
#   verifier-size.sh [--counts]      with --counts: the crates alone, nothing is built
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-target}"

# Crates that are linked in (normal), or needed to build too (normal,build); ours included.
count() {
    local edges="$1"
    shift
    cargo tree --locked "$@" -e "$edges" --prefix none | sed 's/ (\*)//' | awk '{print $1, $2}' | sort -u | wc -l
}

line() {
    local name="$1"
    shift
    printf '%s: %s crates linked in, %s with build scripts' "$name" \
        "$(count normal -p verifier "$@")" "$(count normal,build -p verifier "$@")"
    if [ -z "$counts" ]; then
        cargo build --locked --quiet --release -p verifier --bin tally-verify "$@"
        local stripped
        stripped="$(mktemp)"
        strip -o "$stripped" "$target/release/tally-verify"
        printf ', %s bytes, %s stripped' "$(stat -c %s "$target/release/tally-verify")" "$(stat -c %s "$stripped")"
        rm -f "$stripped"
    fi
    printf '\n'
}

counts=""
[ "${1:-}" != "--counts" ] || counts=1
printf 'ledger: %s crates linked in\n' "$(count normal -p ledger)"
line "without s3" --no-default-features
line "with s3"
line "with s3 and rollup" --features rollup
