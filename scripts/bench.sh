#!/usr/bin/env bash
# Measures Regrow beside mongodump and mongorestore, in one run; see scripts/bench.sh --help.
# The peers are measured as far as mongodump, mongorestore, zstd and age are on PATH.
. "$(dirname "$0")/benchmark.sh"
benchmark bench.py "$@"
