# shellcheck shell=bash
# test, fuzz, fmt and lint. Sourced by ./dev.

FUZZ_SECONDS=60
CHAOS_MINUTES=1 # in every run of the tests; longer with --full, and by itself: ./dev chaos
CHAOS_MINUTES_FULL=5
readonly FUZZ_SECONDS CHAOS_MINUTES CHAOS_MINUTES_FULL

command_test() {
    local unit=yes live=yes full=() names=() report=() words="./dev test${*:+ $*}"
    while [[ $# -gt 0 ]]; do
        case $1 in
            --unit) live=no ;;
            --live) unit=no ;;
            --full) full=(--full) ;;
            --report)
                [[ $# -gt 1 ]] || die "test: --report needs the name of a file"
                [[ -d $(dirname "$2") ]] || die "test: there is no folder $(dirname "$2") for the report"
                words=${words/ --report $2/}
                report=(--report "$2" --command "$words")
                shift
                ;;
            -*) die "test: unknown option '$1'; there are --unit, --live, --full and --report FILE" ;;
            *) names+=("$1") ;;
        esac
        shift
    done
    [[ $unit == yes || $live == yes ]] || die "test: --unit and --live exclude each other"

    deps_all
    # not local: the trap runs after this function, too
    test_work=$(mktemp -d)
    trap 'rm -rf "$test_work"' EXIT
    build_program
    if [[ $unit == yes ]]; then
        say "== the stack and the test runner themselves"
        "$(deps_venv_dir)/bin/python" "$ROOT/tests/stack/selftest.py" \
            --json-summary "$(test_part "stack and runner")" "${names[@]}" || true
        say "== unit and mock tests"
        test_programs "unit and mock" build -- "${names[@]}"
        say "== the same with the address and undefined behaviour sanitizers"
        test_programs "unit and mock, sanitized" build-asan --sanitized -- "${names[@]}"
    fi
    if [[ $live == yes ]]; then
        test_live "${full[@]}" "${names[@]}"
    fi
    test_total "${report[@]}"
}

# The file for what one more part of the run tells (tests/stack/totals.py).
test_part() {
    local number base
    number=$(find "$test_work" -name '*.began' | wc -l)
    base=$(printf '%s/%02d-%s' "$test_work" "$number" "$1")
    touch "$base.began" "$base.json"
    echo "$base.json"
}

# test_programs PART BUILD-DIRECTORY OPTION... -- NAME...
test_programs() {
    local part=$1 dir=$2 options=() name
    shift 2
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    shift
    for name in "$@"; do
        options+=(--filter "$name")
    done
    if [[ " ${options[*]} " == *" --sanitized "* ]]; then
        build_sanitized -- quick_tests
    else
        build_tests "$dir"
    fi
    # the virtual environment first: scripts among the tests find their packages there
    PATH=$(deps_venv_dir)/bin:$PATH "$(deps_python)" "$ROOT/tests/stack/c_tests.py" "$ROOT/$dir" \
        --json-summary "$(test_part "$part")" "${options[@]}" || true
}

# test_live [--full] NAME...: they get a fresh stack of their own, and leave none behind.
test_live() {
    local full=()
    if [[ ${1:-} == --full ]]; then
        full=(--full)
        shift
    fi
    export LOCKSTEP_STACK=${LOCKSTEP_STACK:-test}
    [[ $LOCKSTEP_STACK != local ]] || die "test: the live tests wipe their stack, so not 'local'"
    export LOCKSTEP_CONFIG=$STATE/$LOCKSTEP_STACK/lockstep.yaml
    export LOCKSTEP_BIN=$ROOT/build/lockstep
    mkdir -p "$STATE"
    exec 8>"$STATE/.test-$LOCKSTEP_STACK.lock"
    flock -n 8 || die "test: other live tests are running on the stack '$LOCKSTEP_STACK'"
    say "== live tests"
    stack wipe >&2
    trap 'stack down >&2 || true; rm -rf "$test_work"' EXIT
    if stack up >&2 8>&-; then
        test_programs "live, in C" build --live -- "$@" 8>&-
        test_stories "${full[@]}" "$@" 8>&-
        [[ $# -gt 0 ]] || test_chaos "${full[@]}" 8>&-
    else
        test_part "the stack" >/dev/null # empty: a failure
    fi
    # after a failure the data and the logs stay, until the next run
    if test_total >/dev/null; then stack wipe >&2; else stack down >&2; fi
    trap 'rm -rf "$test_work"' EXIT
}

# test_stories [--full] NAME...: what is written in Python; with --full also under the sanitizers.
test_stories() {
    local python
    python=$(deps_venv_dir)/bin/python
    "$python" "$ROOT/tests/live/run.py" --json-summary "$(test_part "live and faults")" "$@" || true
    [[ ${1:-} == --full ]] || return 0
    say "== the same with the address and undefined behaviour sanitizers"
    sanitize_program address "$test_work/address"
    stack wipe >&2
    if stack up >&2; then
        LOCKSTEP_BIN=$sanitized_bin "$python" "$ROOT/tests/live/run.py" \
            --json-summary "$(test_part "live, sanitized")" "${@:2}" || true
    fi
    sanitize_told "$test_work/address" "$(test_part "what the sanitizers said of it")" || true
}

# test_chaos [--full]
test_chaos() {
    local minutes=$CHAOS_MINUTES
    [[ ${1:-} != --full ]] || minutes=$CHAOS_MINUTES_FULL
    say "== chaos"
    chaos_as_test "$minutes" 1 "$(test_part "chaos, $minutes min")"
    [[ ${1:-} == --full ]] || return 0
    say "== chaos under the thread sanitizer"
    sanitize_program thread "$test_work/thread"
    LOCKSTEP_BIN=$sanitized_bin \
        chaos_as_test "$CHAOS_MINUTES_FULL" 2 \
        "$(test_part "chaos, $CHAOS_MINUTES_FULL min, thread sanitizer")"
    sanitize_told "$test_work/thread" "$(test_part "what the thread sanitizer said")" || true
}

# The one line at the end; the exit code says the same. A part that told nothing is a failure.
test_total() {
    "$(deps_python)" "$ROOT/tests/stack/totals.py" "$test_work" "$@"
}

# fuzz [TARGET] [SECONDS]: a target fuzz_NAME of tests/fuzz has its corpus in corpus/NAME
command_fuzz() {
    local target="" seconds=$FUZZ_SECONDS word
    for word in "$@"; do
        if [[ $word =~ ^[0-9]+$ ]]; then seconds=$word; else target=${word#fuzz_}; fi
    done
    local names=() source
    for source in "$ROOT"/tests/fuzz/fuzz_*.c; do
        source=${source##*/fuzz_}
        [[ -z $target || ${source%.c} == "$target" ]] && names+=("${source%.c}")
    done
    [[ ${#names[@]} -gt 0 ]] || die "fuzz: no target '$target' in tests/fuzz"

    deps_ensure base
    deps_ensure clang
    CC=clang build_in build-fuzz -Dfuzz=true -Db_lundef=false -- "${names[@]/#/tests/fuzz/fuzz_}"
    local name
    for name in "${names[@]}"; do
        fuzz_one "$name" "$seconds"
    done
}

# What it finds new goes to build-fuzz/corpus; the corpus in the tree is only read.
fuzz_one() {
    local name=$1 seconds=$2
    local kept=$ROOT/tests/fuzz/corpus/$name found=$ROOT/build-fuzz/corpus/$name
    mkdir -p "$found" "$ROOT/build-fuzz/findings"
    [[ -d $kept ]] || die "fuzz: fuzz_$name has no corpus in tests/fuzz/corpus/$name"
    say "== fuzz $name for $seconds s"
    "$ROOT/build-fuzz/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$ROOT/build-fuzz/findings/$name-" "$found" "$kept"
}

sources() {
    (cd "$ROOT" && git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r file; do
        if [[ -f $file ]]; then echo "$file"; fi
    done)
}

command_fmt() {
    local how=(-i)
    case ${1:-} in
        "") ;;
        --check) how=(--dry-run -Werror) ;;
        *) die "fmt: unknown option '$1'; there is --check" ;;
    esac
    deps_ensure clang
    sources '*.c' '*.h' | (cd "$ROOT" && xargs -r clang-format --style=file "${how[@]}")
}

command_lint() {
    local bad=0
    deps_ensure base
    deps_ensure clang
    say "== clang-format"
    command_fmt --check || bad=1
    say "== clang-tidy"
    build_in build
    sources '*.c' | grep -v '^tests/' |
        (cd "$ROOT" && xargs -r -n 1 -P "$(nproc)" clang-tidy -p build --quiet \
            --extra-arg=-Wno-unknown-warning-option) || bad=1 # options that only gcc has
    say "== shell and Python"
    sources dev .ci/run 'tests/*.sh' | (cd "$ROOT" && xargs -r -n 1 bash -n) || bad=1
    if command -v shellcheck >/dev/null; then
        (cd "$ROOT" && shellcheck -x dev .ci/run) || bad=1
    fi
    sources '*.py' | (cd "$ROOT" && xargs -r "$(deps_python)" -c '
import ast, sys
for path in sys.argv[1:]:
    ast.parse(open(path, encoding="utf-8").read(), path)') || bad=1
    [[ $bad == 0 ]] || die "lint: see above"
    say "lint: nothing to say"
}
