#!/usr/bin/env bash
# Shows what Regrow does: a backup, a drill, a disaster, the recovery and the report, on a MongoDB server of its own.
#
# Builds Regrow, starts a server on a free local port, and stops and removes everything at the end.
# With --keep (or REGROW_QUICKSTART_KEEP=1) the configuration, keys and repository stay.
set -euo pipefail

readonly DATABASE=smartduka SIZE=50MiB
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    echo "usage: quickstart.sh [--keep]"
    echo "  --keep    keep the configuration, the keys and the repository at the end, and say where"
}

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

# Builds, then runs this script again beside a server.
main() {
    case "${1-}" in
        --steps) steps; return ;;
        --keep) export REGROW_QUICKSTART_KEEP=1 ;;
        -h | --help) usage; return ;;
        '') ;;
        *) usage >&2; exit 2 ;;
    esac
    command -v cargo >/dev/null || fail "cargo is not on PATH: install Rust from https://rustup.rs"
    command -v cc >/dev/null || fail "there is no C compiler: run 'sudo apt-get install build-essential'"
    command -v python3 >/dev/null || fail "python3 is not on PATH: run 'sudo apt-get install python3'"
    cd "$here/.."
    echo "Building Regrow (the first time this takes some minutes) …"
    cargo build --release --locked --quiet --bin regrow --example shop
    local target
    target=$(cargo metadata --locked --no-deps --format-version 1 |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    echo "Starting a MongoDB server (the first time it is downloaded) …"
    # Only what this needs is fetched, which is not the S3 server of the tests.
    PATH="$target/release:$target/release/examples:$PATH" \
        exec python3 scripts/servers.py run -- "$here/quickstart.sh" --steps
}

# Everything that is shown. Runs in a folder of its own, with $MONGODB_URI set.
steps() {
    # What the person has configured for a Regrow of their own is not meant here.
    unset REGROW_CONFIG REGROW_LOG
    folder=$(mktemp -d "${TMPDIR:-/tmp}/regrow-quickstart-XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    cd "$folder"

    step "A small shop with many tenants, on a replica set of one node"
    run shop --database "$DATABASE" --size "$SIZE"

    step "A key pair: backups are encrypted to the public half, which is printed"
    run regrow keygen -o identity.txt
    recipient=$(sed -n 's/^# public key: //p' identity.txt)

    step "The configuration"
    write_configuration
    run cat regrow.toml

    step "The repository, which will hold the backups"
    run regrow init

    step "A backup"
    run regrow backup

    step "What there is now"
    run regrow list
    echo
    run regrow show latest

    step "Is everything stored as it was written?"
    run regrow verify

    step "A drill: does it really restore, and how long does that take?"
    run regrow drill latest

    step "What could be lost now, and how long would a restore take?"
    run regrow status

    step "What the database holds, in MongoDB's own words"
    fingerprint before

    step "The disaster: the database is dropped"
    run python3 "$here/database.py" drop "$DATABASE"

    step "The recovery"
    run regrow restore latest --confirm rs0

    step "Is it the same database?"
    fingerprint after
    compare

    step "The report for management, computed from the repository alone"
    run regrow report
    run regrow report -o report.html
    run regrow evidence list
    next
}

write_configuration() {
    cat >regrow.toml <<TOML
[source]
name = "$DATABASE"
uri = "env:MONGODB_URI"

[repository]
url = "file://$folder/repository"

[encryption]
recipients = ["$recipient"]
identity_file = "identity.txt"

[drill]
mongod = "$(python3 "$here/servers.py" where mongod)"

[[drill.checks]]
name = "there are orders"
namespace = "$DATABASE.orders"
expect = { min = 1 }

[tiers.critical]
rpo = "15m"
rto = "1h"

[[workloads]]
name = "orders"
namespaces = ["$DATABASE.orders"]
tier = "critical"
TOML
}

number=0
step() {
    number=$((number + 1))
    printf '\n%s%d. %s%s\n' "$bold" "$number" "$1" "$plain"
}

# Shows a command, then its output.
run() {
    local shown=$*
    printf '%s$ %s%s\n' "$dim" "${shown//"$here"/scripts}" "$plain"
    # A person reads both, and in order even where this goes through a pipe.
    "$@" 2>&1 || {
        local status=$?
        echo "quickstart: this command failed with exit code $status" >&2
        exit "$status"
    }
}

fingerprint() {
    run python3 "$here/database.py" show "$DATABASE" >"$1.txt"
    cat "$1.txt"
}

# Not only the fingerprint: the lists of collections and counts must be equal too.
compare() {
    if ! cmp -s before.txt after.txt; then
        diff before.txt after.txt >&2 || true
        fail "THE RESTORED DATABASE IS NOT THE ONE THAT WAS LOST: this is a bug in Regrow"
    fi
    printf '\n%sThe fingerprints are equal: every document, option and index is back.%s\n' "$bold" "$plain"
}

next() {
    cat <<'TEXT'

What to look at next:
  README.md                 a configuration of your own, S3, privileges, and what must be kept safe
  docs/FORMAT.md            what the repository holds, and how to read it without Regrow
  regrow restore --help     single collections, other names, another server
  regrow daemon --help      all of it by schedules, with alerts and metrics
TEXT
}

clean_up() {
    local status=$?
    cd /
    if [[ ${REGROW_QUICKSTART_KEEP:-0} != 0 ]]; then
        printf '\nKept: %s\n' "$folder"
    else
        rm -rf "$folder"
    fi
    exit "$status"
}

bold='' dim='' plain=''
if [[ -t 1 && -z ${NO_COLOR-} && ${TERM-dumb} != dumb ]]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

main "$@"
