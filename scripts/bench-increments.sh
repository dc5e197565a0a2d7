#!/usr/bin/env bash
# Measures increments beside full backups, in one run; see scripts/bench-increments.sh --help.
set -euo pipefail
cd "$(dirname "$0")/.."

case " $* " in
    *" -h "* | *" --help "*) exec python3 scripts/bench_increments.py --help ;;
esac
cargo build --release --locked --bin regrow --example shop
exec python3 scripts/bench_increments.py "$@"
