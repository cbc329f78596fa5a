# shellcheck shell=bash
# What ./dev help says. Sourced by ./dev.

command_help() {
    case ${1:-} in
        "") help_all ;;
        stack) help_stack ;;
        *)
            help_all | grep -A 20 "^    $1\b" | awk 'NR > 1 && /^(    )?[A-Za-z]/ { exit } { print }' | grep . ||
                die "help: there is no command '$1'"
            ;;
    esac
}

help_all() {
    cat <<'TEXT'
./dev COMMAND [ARGUMENT...]

The first two:
    demo            install, build, start the local stack, publish, and show seven stores follow
                        ./dev demo
    test            build and run every test; ends with "N passed, N failed"
                        ./dev test                  all
                        ./dev test --unit wire      no servers; only tests with "wire" in the name
                        ./dev test --live           only against real servers (a stack of its own)
                        ./dev test --live links     only those with "links" in the name
                        ./dev test --full           all of tests/faults, not only the quick ones,
                                                    also under sanitizers, and longer chaos
                        ./dev test --report FILE    writes what each test said, as Markdown

Every day:
    build           build into build/; with --sanitize into build-asan/ (address, undefined)
                        ./dev build --sanitize
    lockstep        run build/lockstep on the local stack's configuration
                        ./dev lockstep status --watch
    stack           the local stack: Kafka, MariaDB, Redis, Elasticsearch; more in ./dev help stack
                        ./dev stack up
    fmt             format the C code; with --check only say what is not formatted
                        ./dev fmt --check
    lint            clang-format, clang-tidy, and the syntax of the scripts
                        ./dev lint

Sometimes:
    deps            install what is missing: Debian packages, the servers' jars, the tests' Python
                    packages; with --check only say what is missing
                        ./dev deps --check
    bench           measure rates
                        ./dev bench
                    or what an outage of one store under load does to the others, and itself
                        ./dev bench outage --minutes 60
    fuzz            fuzz every target, or one, for 60 seconds or as many as are given
                        ./dev fuzz wire 300
    chaos           break the whole stack at random under load, and prove every store; what breaks
                    follows from --seed, and --report FILE keeps what happened
                        ./dev chaos --minutes 30 --seed 7 --report chaos.md
                    --sanitize thread runs the program under ThreadSanitizer (or address)
    knockout        take the handlers of faults out one by one, and expect a test to fail;
                    --list only says which, --commit REV takes them from a commit,
                    --report FILE keeps what became of each, and goes on with what FILE lacks
                        ./dev knockout redis
    help            this text
                        ./dev help stack

Environment:
    LOCKSTEP_STACK        which stack (default local; ./dev test uses test)
    LOCKSTEP_PORT_OFFSET  added to every port of a new stack
    LOCKSTEP_STATE        where stacks live     (default ~/.local/state/lockstep)
    LOCKSTEP_CACHE        where downloads live  (default ~/.cache/lockstep)
    LOCKSTEP_CONFIG       another configuration for ./dev lockstep
TEXT
}

help_stack() {
    cat <<'TEXT'
./dev stack COMMAND

    up [NAME...]    start what is not running and wait until it answers; again and again if you like
                        ./dev stack up
    down [NAME...]  stop what `up` has started; the data stays
                        ./dev stack down es-backup
    status          what runs where, with pid, memory and data; exit code 0 only if all of it runs
                        ./dev stack status --json
    logs NAME       the end of a server's log; -f goes on, -n says how many lines
                        ./dev stack logs kafka -f
    wipe            down, then remove the stack's directory with all its data
                        LOCKSTEP_STACK=mine ./dev stack wipe

Servers (ports of the stack "local"; "test" has 1000 more):
    kafka                  19092, controller 19093
    mysql-1, mysql-2       13306, 13307
    redis-a                16379-16381 (nodes redis-a-1, -2, -3), cluster bus 3100 above
    redis-b                16382-16384 (nodes redis-b-1, -2, -3), cluster bus 3100 above
    es-primary, es-backup, es-marketing, es-fallback
                           19200-19203, transport 19300-19303
Only by name, for the tests of faults:
    toxiproxy              18474 (its API); Kafka's listener 19094 is reached through 19095
    brokers                19110-19112 (nodes kafka-b1, -b2, -b3), controllers 19113-19115
    mysql-p, mysql-r       13308, 13309: a primary with a binary log, and its replica
    redis-r                16385-16390 (nodes redis-r-1 to -6): three masters, three replicas
    es-spare, es-small     19204, 19205, transport 19304, 19305: one whose data is thrown away, and
                           one that takes one write at a time and lets one wait
    kafka-tls              19120 SSL, 19121 SASL_SSL
    mysql-tls, redis-tls   13310; 16391-16393, through the tunnel at 16394-16396
    es-tls                 19210: TLS and a password in front of es-primary

Everything listens on 127.0.0.1 only. Each stack (LOCKSTEP_STACK=name) has a directory under
~/.local/state/lockstep with data/, log/, secrets/ (generated passwords) and lockstep.yaml, the
configuration that ./dev lockstep uses. Logging in by hand:
    mariadb -h 127.0.0.1 -P 13306 -u lockstep -p"$(cat ~/.local/state/lockstep/local/secrets/mysql)" lockstep
    REDISCLI_AUTH=$(cat ~/.local/state/lockstep/local/secrets/redis) redis-cli -c -p 16379 --user lockstep
TEXT
}
