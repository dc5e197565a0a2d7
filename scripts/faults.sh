#!/usr/bin/env bash
# Tries every fault of stores, networks and servers under every command, at every moment, and what lasts long and holds much;
# `scripts/test.sh` only draws some and is brief. It prints how many were tried and survived, and fails where anything was lost.
# On two cores it takes some four hours, an hour and a half of them for what lasts long (REGROW_SOAK_MINUTES=N), and 40 GB of disk.
# REGROW_FAULT_SEED=N repeats what chance drew. Arguments go to the test program.
set -euo pipefail
cd "$(dirname "$0")/.."
REGROW_TEST_PROFILE=release REGROW_FAULTS=all exec ./scripts/test.sh --test integration -- faults:: endurance:: --nocapture "$@"
