#!/usr/bin/env bash
# Makes sure that Redis 7 is there: installs it where this may, and says how where not. The package with
# the tools has the server, too, and starts no service.
set -euo pipefail
for program in redis-server redis-check-rdb; do
    if command -v "$program" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends redis-tools >/dev/null
    exit 0
fi
echo "Redis 7 is needed: install it first, on Debian with: sudo apt-get install redis-server" >&2
exit 1
