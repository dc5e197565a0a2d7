#!/usr/bin/env bash
# For cron: re-reads what is stored. Says nothing when all is well, and names what is not.
set -euo pipefail

readonly REGROW=${REGROW:-regrow}

usage() {
    cat <<'END'
usage: verify-backups.sh [--verbose] [--all | BACKUP…] [regrow verify options…]

Re-reads every byte of all backups and of the captured oplog, or of the backups that are named, and holds it against what
was recorded. Prints nothing when all is well, so that cron sends mail only when it is not.

  --all            all backups and the captured oplog: what happens anyway when none is named
  --verbose        say what was checked, too
  -h, --help       show this

Options of 'regrow verify' are passed on: --level content also opens every document, --subset 1/4 reads one part of four,
--bandwidth 20MiB leaves the network to others. The environment variable REGROW names the binary [default: regrow on PATH].

Exit codes are those of regrow: 0 all is as it was written, 4 there is no such backup, 5 damage found.

  0 4 * * 0  cd /etc/regrow && /opt/regrow/scripts/verify-backups.sh
END
}

fail() {
    echo "verify-backups: $1" >&2
    exit "$2"
}

main() {
    local argument quiet=--quiet
    local -a options=()
    for argument in "$@"; do
        case $argument in
            -h | --help) usage; return ;;
            --verbose) quiet='' ;;
            *) options+=("$argument") ;;
        esac
    done
    command -v "$REGROW" >/dev/null || fail "'$REGROW' is not on PATH; set REGROW to the binary" 127
    exec "$REGROW" verify ${quiet:+"$quiet"} "${options[@]+"${options[@]}"}"
}

main "$@"
