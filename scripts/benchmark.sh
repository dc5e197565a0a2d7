# Read by the benchmarks' scripts: builds what is measured and what it is measured with, then runs one of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Runs scripts/$1 with the other arguments.
benchmark() {
    local program="scripts/$1"
    shift
    case " $* " in
        *" -h "* | *" --help "*) exec python3 "$program" --help ;;
    esac
    # A server has a file open for each collection and each index.
    ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    cargo build --release --locked --bin regrow --example shop --example writers
    exec python3 "$program" "$@"
}
