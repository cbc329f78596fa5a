# shellcheck shell=bash
# chaos: the whole stack is broken at random under load, and every store proven. Sourced by ./dev.

# A fresh stack of its own; after a failure its data stay, and the logs in chaos-failed beside them.
#     command_chaos [--sanitize address|thread] OPTION-OF-CHAOS.PY...
command_chaos() {
    local word kind="" options=()
    while [[ $# -gt 0 ]]; do
        if [[ $1 == --sanitize ]]; then
            kind=${2:-}
            [[ $kind == address || $kind == thread ]] || die "chaos: --sanitize takes 'address' or 'thread'"
            shift
            options+=(--sanitize "$kind")
        else
            options+=("$1")
        fi
        shift
    done
    set -- "${options[@]}"
    deps_all
    build_program
    export LOCKSTEP_STACK=${LOCKSTEP_STACK:-chaos} LOCKSTEP_BIN=$ROOT/build/lockstep
    for word in "$@"; do
        case $word in
            --help | -h | --list)
                chaos_run "$@"
                return
                ;;
        esac
    done
    [[ $LOCKSTEP_STACK != local ]] || die "chaos: it wipes its stack, so not 'local'"
    if [[ -n $kind ]]; then
        chaos_work=$(mktemp -d) # not local: the trap runs after this function, too
        sanitize_program "$kind" "$chaos_work/reports"
        export LOCKSTEP_BIN=$sanitized_bin
    fi
    mkdir -p "$STATE"
    exec 8>"$STATE/.test-$LOCKSTEP_STACK.lock"
    flock -n 8 || die "chaos: other tests are running on the stack '$LOCKSTEP_STACK'"
    stack wipe >&2
    trap 'stack down >&2 8>&- || true; rm -rf "${chaos_work:-}"' EXIT
    stack up >&2 8>&-
    stack up toxiproxy >&2 8>&-
    local code=0
    chaos_run --keep "$STATE/chaos-failed" "$@" 8>&- || code=$?
    [[ -z $kind ]] || sanitize_told "$chaos_work/reports" "$chaos_work/told" || code=1
    rm -rf "${chaos_work:-}"
    trap - EXIT
    if [[ $code == 0 ]]; then
        stack wipe >&2 8>&-
    else
        stack down >&2 8>&-
        say "logs of the workers and the load: $STATE/chaos-failed"
    fi
    return "$code"
}

# As a part of ./dev test: chaos_as_test MINUTES SEED SUMMARY, on the tests' stack, made anew.
chaos_as_test() {
    local minutes=$1 seed=$2 summary=$3
    stack wipe >&2
    if stack up >&2 && stack up toxiproxy >&2; then
        chaos_run --minutes "$minutes" --seed "$seed" --keep "$STATE/chaos-failed" \
            --json-summary "$summary" || true
    fi
}

chaos_run() {
    "$(deps_venv_dir)/bin/python" "$ROOT/tests/chaos/chaos.py" "$@"
}
