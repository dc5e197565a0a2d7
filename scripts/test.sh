#!/usr/bin/env bash
# Fetches the real servers, then runs every test against them; arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v cargo >/dev/null; then
    echo "test.sh: cargo is not on PATH: install Rust from https://rustup.rs" >&2
    exit 1
fi
python3 scripts/servers.py fetch
# Most of the time tests wait, for servers and for what they have started.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"
exec cargo test --profile "${REGROW_TEST_PROFILE:-tests}" --locked "$@"
