#!/usr/bin/env bash
# Tries every fault of stores, networks and servers under every command, at every moment, and what lasts long and holds much;
# `scripts/test.sh` only draws some and is brief.
# It takes well over twenty minutes (both stores are tried, which has not been timed), and the endurance an hour more (REGROW_SOAK_MINUTES=N) and 40 GB of disk.
# REGROW_FAULT_SEED=N repeats what chance drew. Arguments go to the test program.
set -euo pipefail
cd "$(dirname "$0")/.."
REGROW_TEST_PROFILE=release REGROW_FAULTS=all exec ./scripts/test.sh --test integration -- faults:: endurance:: --nocapture "$@"
