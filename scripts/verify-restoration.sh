#!/usr/bin/env bash
# After a restore: holds every document of the live database against the backup.
set -euo pipefail

readonly REGROW=${REGROW:-regrow}

usage() {
    cat <<'END'
usage: verify-restoration.sh BACKUP [regrow diff options…]

Compares the live database with the backup: every document, options and indexes. Prints a table of the namespaces.
Changes nothing.

  BACKUP           an id, a unique beginning of it, or latest
  -h, --help       show this

Options of 'regrow diff', such as --ns, --map, --to, --documents or --json, are passed on. The environment variable REGROW
names the binary [default: regrow on PATH].

Exit codes are those of regrow: 0 the live database is as the backup, 4 there is no such backup, 5 damage found,
6 something differs.
END
}

fail() {
    echo "verify-restoration: $1" >&2
    exit "$2"
}

main() {
    local argument
    for argument in "$@"; do
        case $argument in
            -h | --help) usage; return ;;
        esac
    done
    if [[ ${1--} == -* ]]; then
        usage >&2
        fail "name the backup first" 2
    fi
    command -v "$REGROW" >/dev/null || fail "'$REGROW' is not on PATH; set REGROW to the binary" 127
    exec "$REGROW" diff "$@" --check
}

main "$@"
