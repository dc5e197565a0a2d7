#!/usr/bin/env bash
# Measures backups and restores of more and more data, and draws how they grow; see scripts/bench-growth.sh --help.
. "$(dirname "$0")/benchmark.sh"
benchmark bench_growth.py "$@"
