# shellcheck shell=bash
# The program under the sanitizers, as something that tests can start like the plain one. Sourced by
# ./dev.

# Sets sanitized_bin: a program `lockstep` in a folder of its own, with the plain helpers beside it,
# whose sanitizer's reports go to files in the folder REPORTS.
#     sanitize_program address|thread REPORTS
sanitize_program() {
    local kind=$1 reports=$2 build
    case $kind in
        address)
            build=$ROOT/build-asan
            build_sanitized -- cli/lockstep
            ;;
        thread)
            build=$ROOT/build-tsan
            build_in build-tsan -Db_sanitize=thread -Db_lundef=false -- \
                cli/lockstep tests/tsan/libc11_threads.so
            ;;
    esac
    mkdir -p "$build/run" "$reports"
    ln -sfn "$ROOT/build/tests" "$build/run/tests"
    sanitized_bin=$build/run/lockstep
    {
        echo "#!/bin/sh"
        if [[ $kind == thread ]]; then
            # reports do not end it: a run tells all of them
            echo "export TSAN_OPTIONS='exitcode=0 log_path=$reports/thread history_size=4 suppressions=$ROOT/tests/tsan/suppressions.txt'"
            echo "export LD_PRELOAD='$build/tests/tsan/libc11_threads.so'"
        else
            echo "export ASAN_OPTIONS='log_path=$reports/address'"
            echo "export UBSAN_OPTIONS='print_stacktrace=1 log_path=$reports/undefined'"
        fi
        echo "exec '$build/cli/lockstep' \"\$@\""
    } >"$sanitized_bin.new"
    chmod +x "$sanitized_bin.new"
    mv "$sanitized_bin.new" "$sanitized_bin" # never half a script: others may be starting it
}

# One more test for the total: that there are no reports in this folder. Shows those that there are,
# and fails then.
sanitize_told() {
    local reports=$1 summary=$2 found
    found=$(find "$reports" -type f -size +0 | wc -l)
    if [[ $found == 0 ]]; then
        say "no sanitizer had anything to say"
        echo '{"passed": 1, "failed": 0}' >"$summary"
        return
    fi
    say "$found reports of sanitizers:"
    find "$reports" -type f -size +0 -exec head -n 40 {} + >&2
    echo '{"passed": 0, "failed": 1}' >"$summary"
    return 1
}
