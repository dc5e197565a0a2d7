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

# Says the command that takes back the restore of which an answer, plain or JSON, tells; a URI is not repeated, as it may
# hold a password.
say_how_to_undo() {
    local id elsewhere='' option
    id=$(sed -nE '/--undo|"can_be_undone":true/ s/.*(--undo |"restore":")([0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}).*/\2/p' <<<"$1" | head -n 1)
    if [[ -z $id ]]; then
        echo "Nothing was replaced, so nothing can be put back." >&2
        return
    fi
    for option in "${@:2}"; do
        case $option in
            --to | --to=*) elsewhere=' --to URI' ;;
        esac
    done
    echo "What was replaced is kept. To go back to it: $REGROW restore --undo $id$elsewhere" >&2
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
    # The answer goes to stdout as it comes; what it says of undoing is repeated at the end.
    local answer
    exec 3>&1
    answer=$("${restore[@]}" | tee /dev/fd/3)
    echo >&2
    say_how_to_undo "$answer" "${options[@]+"${options[@]}"}"
    echo "To hold what is live now against the backup: scripts/verify-restoration.sh $1" >&2
}

main "$@"
