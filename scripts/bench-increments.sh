#!/usr/bin/env bash
# Measures increments beside full backups, in one run; see scripts/bench-increments.sh --help.
. "$(dirname "$0")/benchmark.sh"
benchmark bench_increments.py "$@"
