#!/usr/bin/env bash
# Measures capturing the oplog and replaying it, in one run; see scripts/bench-oplog.sh --help.
. "$(dirname "$0")/benchmark.sh"
benchmark bench_oplog.py "$@"
