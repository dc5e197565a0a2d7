#!/usr/bin/env bash
# Looks for bytes that harm whoever reads them: each of fuzz/fuzz_targets/ for so many seconds, from its corpus on.
# `scripts/fuzz.sh 600` takes ten minutes for each. Any compiler will do: there is hardly any unsafe code to sanitize.
# What it finds lies in fuzz/artifacts/, and ends it with an error.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz.sh: cargo-fuzz is not there: run 'cargo install cargo-fuzz'" >&2
    exit 1
fi
export RUSTC_BOOTSTRAP=1
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in fuzz_targets/*.rs; do
    name=$(basename "$target" .rs)
    mkdir "$found/$name"
    # What is new goes into the first folder, so that the corpus stays as small as it is.
    cargo fuzz run --sanitizer none "$name" "$found/$name" "corpus/$name" -- \
        -max_total_time="${1:-60}" -rss_limit_mb=2048 -timeout=20 -print_final_stats=1
done
