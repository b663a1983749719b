#!/usr/bin/env bash
# Makes sure that Postgres 15 is there: installs it where this may, and says how where not.
set -euo pipefail
for dir in /usr/lib/postgresql/*/bin; do
    if [ -x "$dir/initdb" ]; then exit 0; fi
done
if command -v initdb >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends postgresql-15 >/dev/null
    exit 0
fi
echo "Postgres 15 is needed: install it first, on Debian with: sudo apt-get install postgresql-15" >&2
exit 1
