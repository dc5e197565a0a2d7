#!/usr/bin/env bash
# Measures capturing the oplog and replaying it, in one run; see scripts/bench-oplog.sh --help.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
    *" -h "* | *" --help "*) exec python3 scripts/bench_oplog.py --help ;;
esac
cargo build --release --locked --bin regrow --example shop --example writers
exec python3 scripts/bench_oplog.py "$@"
