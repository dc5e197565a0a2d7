#!/usr/bin/env bash
# The rollback: shows what a restore would replace, then replaces it, and keeps what was there.
set -euo pipefail

readonly REGROW=${REGROW:-regrow}

usage() {
    cat <<'END'
usage: restore-backup.sh BACKUP [regrow restore options…]

Shows the plan, then restores the backup in the place of what is there. Collections are loaded beside those that they
replace and exchanged when all of them have been loaded and checked; what was replaced is kept, so that it can be undone.

  BACKUP           an id, a unique beginning of it, or latest
  --dry-run        show the plan only
  -h, --help       show this

Options of 'regrow restore', such as --ns, --to or --users, are passed on. A person is asked for the name of the replica
set; a script gives it with --confirm NAME. The environment variable REGROW names the binary [default: regrow on PATH].

Exit codes are those of regrow: 0 restored, 4 there is no such backup, 5 damage found, 7 not confirmed.

  scripts/restore-backup.sh 20261123T020000Z-manual-7f3a --confirm rs0
  scripts/verify-restoration.sh 20261123T020000Z-manual-7f3a
END
}

fail() {
    echo "restore-backup: $1" >&2
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
    local -a options=()
    local only_plan=no
    for argument in "${@:2}"; do
        case $argument in
            --dry-run) only_plan=yes ;;
            *) options+=("$argument") ;;
        esac
    done
    local -a restore=("$REGROW" restore "$1" --replace --keep-old "${options[@]+"${options[@]}"}")

    if [[ $only_plan == yes ]]; then
        exec "${restore[@]}" --dry-run
    fi
    # Only what is done is the answer; the plan is talk.
    "${restore[@]}" --dry-run >&2
    echo >&2
    "${restore[@]}"
    echo >&2
    echo "What was replaced is kept. To go back to it, use --undo: '$REGROW restore --help' shows how." >&2
    echo "To hold what is live now against the backup: scripts/verify-restoration.sh $1" >&2
}

main "$@"
