#!/usr/bin/env bash
# Runs every fuzz target for SECONDS each, from the kept corpus. Needs a nightly compiler: where
# there is none it says so and passes, as the corpus itself is replayed by the ordinary tests.
set -euo pipefail
seconds=${1:?usage: checks/fuzz.sh SECONDS}
cd "$(dirname "$0")/../fuzz"
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "SKIPPED: fuzzing needs a nightly compiler (rustup toolchain install nightly)"
    exit 0
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    cargo install cargo-fuzz --version 0.13.2 --locked
fi
# What a run finds goes into a copy: a smoke run leaves the kept corpus as it is.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for target in $(cargo +nightly fuzz list); do
    mkdir -p "$work/$target"
    cargo +nightly fuzz run "$target" "$work/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=512 -timeout=5 -verbosity=0
    echo "fuzz $target: $seconds s without a finding"
done
