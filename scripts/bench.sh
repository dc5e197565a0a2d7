#!/usr/bin/env bash
# Measures Regrow beside mongodump and mongorestore, in one run on one server; see scripts/bench.sh --help.
# The peers are measured as far as mongodump, mongorestore, zstd and age are on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
    *" -h "* | *" --help "*) exec python3 scripts/bench.py --help ;;
esac
# A server has a file open for each collection and index, and for some time for those that were dropped.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
cargo build --release --locked --bin regrow --example shop
exec python3 scripts/servers.py run --cache-gb 1 --oplog-mb 2048 -- python3 scripts/bench.py "$@"
