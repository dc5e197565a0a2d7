#!/usr/bin/env bash
# Measures what a backup costs those who use the server meanwhile; see scripts/bench-impact.sh --help.
. "$(dirname "$0")/benchmark.sh"
benchmark bench_impact.py "$@"
