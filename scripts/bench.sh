#!/usr/bin/env bash
# Measures Regrow beside mongodump and mongorestore, in one run; see scripts/bench.sh --help.
# The peers are measured as far as mongodump, mongorestore, zstd and age are on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
    *" -h "* | *" --help "*) exec python3 scripts/bench.py --help ;;
esac
# A server has a file open for each collection and each index.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
cargo build --release --locked --bin regrow --example shop
exec python3 scripts/bench.py "$@"
