#!/usr/bin/env bash
# ./dev demo: publish once, and seven real stores follow. Called by ./dev, which has installed and built.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MEMBERS=100000
EVENTS=200000
CATCH_UP_LIMIT_S=300

work=$(mktemp -d)
worker=
finish() {
    if [[ -n $worker ]]; then
        kill -TERM "$worker" 2>/dev/null || true
        wait "$worker" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

started=$SECONDS
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
lockstep() { "$ROOT/dev" lockstep "$@"; }
fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

step "1. The local stack: Kafka, two MariaDB servers, two Redis Clusters, four Elasticsearch nodes"
"$ROOT/dev" stack up

step "2. Topics and schemas: what is there already is left alone"
lockstep topics create
lockstep schema apply >"$work/apply" || fail "schema apply: $(cat "$work/apply")"
printf '%s lines of what was made; the last ones:\n' "$(wc -l <"$work/apply")"
tail -n 3 "$work/apply"

step "3. Seven workers start, one per sink, at the marks in their stores"
"$ROOT/dev" lockstep run --all 2>"$work/worker.log" &
worker=$! # ./dev becomes the program

step "4. Publish $EVENTS events of $MEMBERS made-up members: puts, updates, deletes"
"$ROOT/build/tests/gen/gen-members" --members "$MEMBERS" --events "$EVENTS" --seed 1 >"$work/members.ndjson"
grep -m 1 '"_op":"put"' "$work/members.ndjson" | cut -c 1-180
lockstep publish --entity member "$work/members.ndjson"

step "5. Seven stores catch up"
lockstep status --watch --until-caught-up="$CATCH_UP_LIMIT_S" || {
    tail -n 20 "$work/worker.log" >&2
    fail "not all sinks caught up within $CATCH_UP_LIMIT_S s; the workers' last lines stand above"
}

step "6. Every store against the log, in full"
kill -TERM "$worker"
wait "$worker" || fail "the workers did not stop cleanly: $(tail -n 5 "$work/worker.log")"
worker=
lockstep verify

printf '\nThe demo took %d s. Try next:\n\n' "$((SECONDS - started))"
cat <<'TEXT'
  ./dev lockstep replay --all      read the whole log into every store again: nothing is applied
  ./dev lockstep run --all         start the workers (Ctrl-C stops them), then in a second terminal:
                                   echo '{"id":"me","name":"Me"}' | ./dev lockstep publish -e member -
  ./dev lockstep status --watch    see where each store stands

The stack goes on running; ./dev stack down stops it, ./dev stack wipe forgets it.
TEXT
