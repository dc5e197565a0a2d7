#!/usr/bin/env bash
# Takes a backup before a deployment, verifies it, and prints its id alone on stdout.
set -euo pipefail

readonly REGROW=${REGROW:-regrow}
# The longest wait, in seconds, before it is tried again whether another run has ended.
readonly LONGEST_PAUSE=16

usage() {
    cat <<'END'
usage: backup-production.sh [--wait SECONDS] [regrow backup options…]

Takes a backup of kind manual, reads every byte of it back, and prints its id on stdout; all else goes to stderr.

  --wait SECONDS   while another run holds the repository's lease, try again for so long [default: 900]
  -h, --help       show this

Options of 'regrow backup', such as --ns or --config, are passed on. The environment variable REGROW names the binary
[default: regrow on PATH].

Exit codes are those of regrow: 0 the backup is there and verified, 3 configuration, 5 it is damaged, 75 the lease was
held for all of that time.

  id=$(scripts/backup-production.sh)
  deploy || scripts/restore-backup.sh "$id"
END
}

fail() {
    echo "backup-production: $1" >&2
    exit "$2"
}

# Runs what is given until another run holds the lease no more, or for $1 seconds.
patiently() {
    local patience=$1 pause=1 code
    shift
    while true; do
        code=0
        "$@" || code=$?
        if [[ $code != 75 ]] || ((SECONDS >= patience)); then
            return "$code"
        fi
        echo "backup-production: another run is under way; trying again in $pause s" >&2
        sleep "$pause"
        if ((pause < LONGEST_PAUSE)); then
            pause=$((2 * pause))
        fi
    done
}

main() {
    local patience=900 id
    local -a options=()
    while (($# > 0)); do
        case $1 in
            -h | --help) usage; return ;;
            --wait) patience=${2-}; shift ;;
            --wait=*) patience=${1#--wait=} ;;
            *) options+=("$1") ;;
        esac
        (($# == 0)) || shift
    done
    [[ $patience =~ ^[0-9]+$ ]] || fail "--wait takes a number of seconds" 2
    command -v "$REGROW" >/dev/null || fail "'$REGROW' is not on PATH; set REGROW to the binary" 127

    echo "Taking a backup …" >&2
    # Another kind among the options is refused, because this one is given already.
    id=$(patiently "$patience" "$REGROW" backup --kind manual "${options[@]+"${options[@]}"}")
    echo "Verifying $id …" >&2
    "$REGROW" verify --level checksum "$id" >&2
    echo "$id"
}

main "$@"
