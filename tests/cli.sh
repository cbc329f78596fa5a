#!/usr/bin/env bash
# What a person who is new to it does wrong with each command: it says what is so, and exits as its
# help says. No server is asked. Usage: cli.sh LOCKSTEP
set -u
lockstep=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
unset LOCKSTEP_CONFIG
failed=0

# expect CODE TEXT ARGUMENT...: both streams together hold the text
expect() {
    local code=$1 text=$2 out rc
    shift 2
    out=$("$lockstep" "$@" 2>&1 </dev/null)
    rc=$?
    if [ "$rc" != "$code" ] || ! grep -qF -- "$text" <<<"$out"; then
        echo "lockstep $*: expected exit $code and '$text', got exit $rc and: $out" >&2
        failed=1
    fi
    if grep -q $'\033' <<<"$out"; then
        echo "lockstep $*: an escape reached the terminal" >&2
        failed=1
    fi
}

for command in config topics schema publish run replay resync status quarantine verify; do
    expect 64 "unrecognized option '--nonsense'" "$command" --nonsense
    expect 64 "--config: expected a file" "$command" --config ''
    expect 0 "Exit codes:" "$command" --help
done
expect 64 "unknown command 'reply'" reply

for command in run replay; do
    expect 64 'name the sinks with --sink NAME, or all of them with --all' "$command"
    expect 64 'give either --sink or --all' "$command" --all --sink mysql
done
for command in status verify 'quarantine list' 'schema diff'; do
    # shellcheck disable=SC2086
    expect 64 'give either --sink or --all' $command --all --sink mysql
    # shellcheck disable=SC2086
    expect 78 'nothing.yaml: No such file' $command -c nothing.yaml
    # shellcheck disable=SC2086
    expect 78 'Is a directory' $command -c .
done
expect 64 'name each store' resync
expect 64 "unrecognized option '--all'" resync --all
expect 64 "unrecognized option '--json'" run --all --json
expect 64 "--partition '-1': expected a whole number from 0 to 1023" replay --all --partition -1
expect 64 "--partition '': expected" quarantine list --partition ''
expect 64 "--offset '99999999999999999999'" quarantine list --offset 99999999999999999999
expect 64 '--key: expected a key' quarantine list --key ''
expect 64 "--examples ' 3'" verify --examples ' 3'
expect 64 "--wait '1s': expected a whole number from 0 to 86400" verify --wait 1s
expect 64 "--until-caught-up '-5'" status --until-caught-up=-5
expect 64 'are for show' schema apply --mysql
expect 64 'are for apply and diff' schema show --sink mysql
expect 64 '--against is for check' schema apply --against old.yaml
expect 64 '--new-log is for create' topics check --new-log member

# A value that would clear the screen, and one that shows text in another order.
printf 'listen: "\\e[2J\\u202Ex"\n' >bad.yaml
expect 78 '\x1b[2J\u202ex' config check -c bad.yaml
printf '"\\e[2J": 1\n' >bad.yaml
expect 78 '\x1b[2J' config check -c bad.yaml

# Results that cannot be written are no success, and go nowhere else.
unwritten() {
    if [ "$1" != 2 ] || ! grep -q 'cannot write the results' err; then
        echo "stdout refused: expected exit 2 and 'cannot write the results', got exit $1 and:" >&2
        cat err >&2
        failed=1
    fi
}
"$lockstep" config document >/dev/full 2>err
unwritten $?
"$lockstep" config document >&- 2>err
unwritten $?
exit $failed
