# shellcheck shell=bash
# What the machine must have: Debian packages, the servers' jars, the tests' Python packages.
# Sourced by ./dev. Whatever is there already costs a look and no network.

# Only the servers' programs, from packages that hold no service: so nothing is ever started by
# the system, neither now nor at the next boot, beside what may run there already.
PACKAGES_BASE=(
    build-essential meson ninja-build pkg-config
    librdkafka-dev libhiredis-dev default-libmysqlclient-dev libcurl4-openssl-dev libmsgpack-dev
    libcriterion-dev libyaml-dev libjansson-dev libxxhash-dev liblmdb-dev libmicrohttpd-dev
    mariadb-server-core mariadb-client-core redis-tools openjdk-17-jdk-headless maven
    python3 python3-venv procps iproute2 ca-certificates
)
PACKAGES_CLANG=(clang clang-format clang-tidy libclang-rt-14-dev)
# What breaks and encrypts links, for the fault tests only: Go builds toxiproxy; apache2-bin has no
# service; stunnel4's service starts nothing as long as nobody writes a file into /etc/stunnel;
# nftables' service is off unless somebody enables it.
PACKAGES_FAULTS=(golang-go apache2-bin stunnel4 openssl nftables)
readonly PACKAGES_BASE PACKAGES_CLANG PACKAGES_FAULTS

JAR_LIST=$ROOT/tests/stack/jars.sha256
REQUIREMENTS=$ROOT/tests/requirements.txt
TOXIPROXY=$ROOT/tests/stack/toxiproxy
DEBIAN_GO=/usr/lib/go/bin/go # whatever other Go is on PATH
readonly JAR_LIST REQUIREMENTS TOXIPROXY DEBIAN_GO

command_deps() {
    case ${1:-} in
        "") deps_all ;;
        --check) deps_check ;;
        *) die "deps: unknown option '$1'; there is --check" ;;
    esac
}

# What takes long goes on at the same time. (No `||` here: it would switch off `set -e` inside.)
deps_all() {
    deps_ensure base faults
    deps_jars &
    local jars=$!
    deps_venv
    deps_toxiproxy
    deps_prometheus
    wait "$jars"
}

# What servers of the stack need that a plain `up` does not start.
deps_faults() {
    deps_ensure faults
    deps_toxiproxy
}

# Says what is missing; the exit code says whether anything is.
deps_check() {
    local missing
    missing=$(deps_missing "${PACKAGES_BASE[@]}" "${PACKAGES_CLANG[@]}" "${PACKAGES_FAULTS[@]}")
    [[ -z $missing ]] || say "packages not installed:" $missing
    jars_complete || say "the servers' jars are missing or damaged: $(jars_dir)"
    [[ -e $(deps_venv_dir)/complete ]] || say "the tests' Python packages are missing"
    [[ -x $(toxiproxy_dir)/toxiproxy ]] || say "toxiproxy is not built yet"
    [[ -x $CACHE/bin/prometheus ]] || say "Prometheus is missing"
    [[ -z $missing ]] && jars_complete && [[ -e $(deps_venv_dir)/complete ]] &&
        [[ -x $(toxiproxy_dir)/toxiproxy && -x $CACHE/bin/prometheus ]]
}

# deps_ensure GROUP...
deps_ensure() {
    local missing group packages=()
    for group in "$@"; do
        case $group in
            base) packages+=("${PACKAGES_BASE[@]}") ;;
            clang) packages+=("${PACKAGES_CLANG[@]}") ;;
            faults) packages+=("${PACKAGES_FAULTS[@]}") ;;
        esac
    done
    missing=$(deps_missing "${packages[@]}")
    # shellcheck disable=SC2086 # one word per package
    [[ -z $missing ]] || deps_install $missing
    deps_redis
}

# redis-tools holds the server too, as its checker; only the name tells them apart. (The package
# redis-server adds that name, and a service.) ./dev has this directory at the end of PATH.
deps_redis() {
    [[ ! -e $CACHE/bin/redis-server ]] || return 0
    mkdir -p "$CACHE/bin"
    ln -sfn /usr/bin/redis-check-rdb "$CACHE/bin/redis-server"
}

# dpkg-query fails for a package it has never heard of, and says 'installed' for the others.
deps_missing() {
    local installed
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p')
    comm -23 <(printf '%s\n' "$@" | sort) <(sort <<<"$installed") | tr '\n' ' '
}

deps_install() {
    command -v apt-get >/dev/null || die "this needs Debian's apt-get; please install: $*"
    local sudo=()
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || die "not root, and there is no sudo; please install: $*"
        sudo=(sudo)
    fi
    say "installing: $*"
    # one root shell, so that sudo asks once
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive bash -euo pipefail -c '
        apt-get -qq update
        apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 -o APT::Status-Fd=3 \
            install "$@" 3>&1 >/dev/null
    ' deps "$@" | deps_progress
}

# One line that counts up, on a terminal only. apt says "pmstatus:PACKAGE:PERCENT:TEXT".
deps_progress() {
    local kind package percent rest
    while IFS=: read -r kind package percent rest; do
        [[ -t 2 && $kind == *status && $percent =~ ^[0-9]+ ]] || continue
        printf '\r\033[K    %s %3s %%' "$([[ $kind == dl* ]] && echo download || echo install)" \
            "${percent%%.*}" >&2
    done
    if [[ -t 2 ]]; then
        printf '\r\033[K' >&2
    fi
}

# Debian's own, which the installed packages fit; another one on PATH only where there is none.
deps_python() {
    if [[ -x /usr/bin/python3 ]]; then
        echo /usr/bin/python3
    else
        command -v python3 || die "no python3: run ./dev deps"
    fi
}

# Runs a command, quiet unless it fails: then with the end of its log.
#     deps_logged WHO LOG COMMAND...
deps_logged() {
    local who=$1 log=$2
    shift 2
    "$@" >"$log" 2>&1 && return 0
    say "$who failed; the end of $log:"
    tail -n 20 "$log" >&2
    return 1
}

jars_dir() {
    local digest
    digest=$(sha256sum "$JAR_LIST")
    echo "$CACHE/jars-${digest:0:12}"
}

jars_complete() {
    local dir
    dir=$(jars_dir)
    [[ -d $dir ]] && (cd "$dir" && sha256sum --check --strict --status "$JAR_LIST" 2>/dev/null)
}

deps_jars() {
    local dir
    dir=$(jars_dir)
    if [[ -d $dir ]]; then
        jars_complete && return 0
        say "damaged, and downloaded again:"
        (cd "$dir" && sha256sum --check --quiet "$JAR_LIST" 2>&1) | sed 's/^/    /' >&2 || true
    fi
    mkdir -p "$CACHE"
    (
        flock 9
        if ! jars_complete; then
            jars_download "$dir"
        fi
    ) 9>"$CACHE/.jars.lock"
}

# Into a temporary directory first: what is incomplete never has the name of what is complete.
jars_download() {
    local dir=$1 part attempt
    say "downloading Kafka and Elasticsearch (about 110 MB)"
    for attempt in 1 2; do
        part=$(mktemp -d "$CACHE/.jars.XXXXXX")
        if jars_fetch "$part" && (cd "$part" && sha256sum --check --strict --quiet "$JAR_LIST") >&2; then
            rm -rf "$dir"
            mv "$part" "$dir"
            rm -rf "$CACHE/maven" "$CACHE/java" # what was made of other jars
            return 0
        fi
        rm -rf "$part" "$CACHE/maven"
        say "attempt $attempt: the jars are not what $JAR_LIST lists"
    done
    die "could not get the servers' jars"
}

# Maven's repository is our own, and kept only until all is there, so that an interrupted download
# goes on where it was and a damaged file is nobody else's.
jars_fetch() {
    local out=$1
    deps_logged Maven "$CACHE/maven.log" mvn -B -T2 -f "$ROOT/tests/stack/jars/pom.xml" \
        -Dmaven.repo.local="$CACHE/maven" -Djars.out="$out" dependency:copy-dependencies || return 1
    mkdir "$out/elasticsearch/transport-netty4"
    mv "$out"/elasticsearch/netty-*.jar "$out"/elasticsearch/transport-netty4-*.jar \
        "$out/elasticsearch/transport-netty4"
    chmod 755 "$out"
}

deps_venv_dir() {
    local digest
    digest=$(cat "$REQUIREMENTS" <("$(deps_python)" --version) | sha256sum)
    echo "$CACHE/venv-${digest:0:12}"
}

# A virtual environment can't be renamed, so a file in it says that it is complete.
deps_venv() {
    local dir
    dir=$(deps_venv_dir)
    [[ ! -e $dir/complete ]] || return 0
    say "installing the tests' Python packages"
    mkdir -p "$CACHE"
    (
        flock 9
        [[ ! -e $dir/complete ]] || exit 0
        rm -rf "$dir"
        "$(deps_python)" -m venv "$dir"
        "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$REQUIREMENTS" >&2
        touch "$dir/complete"
    ) 9>"$CACHE/.venv.lock"
}

# Unless PROGRAM is there: runs FUNCTION with a temporary folder of its own, which goes afterwards; one
# process at a time.
#     deps_once NAME PROGRAM FUNCTION
deps_once() {
    local name=$1 program=$2 function=$3
    [[ ! -x $program ]] || return 0
    mkdir -p "$CACHE/bin"
    (
        flock 9
        [[ ! -x $program ]] || exit 0
        work=$(mktemp -d "$CACHE/.$name.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        "$function" "$work"
    ) 9>"$CACHE/.$name.lock"
}

# Prometheus and promtool, for the tests of metrics and alerts. The package would start a service when
# it is installed, so it is only unpacked; its programs need nothing else of it.
deps_prometheus() {
    deps_once prometheus "$CACHE/bin/prometheus" prometheus_download
}

prometheus_download() {
    say "downloading Prometheus"
    cd "$1"
    deps_logged apt-get "$CACHE/prometheus.log" apt-get -qq download prometheus ||
        die "could not download Prometheus (are apt's lists there? 'apt-get update')"
    dpkg-deb -x prometheus_*.deb out
    mv out/usr/bin/promtool "$CACHE/bin/"
    mv out/usr/bin/prometheus "$CACHE/bin/" # last: it says that all is there
}

# The name holds the hash of the versions it was built from, as with the jars.
toxiproxy_dir() {
    local digest
    digest=$(cat "$TOXIPROXY/go.mod" "$TOXIPROXY/go.sum" | sha256sum)
    echo "$CACHE/toxiproxy-${digest:0:12}"
}

# Go checks every module against go.sum. Its caches are our own, and go when the program is there.
deps_toxiproxy() {
    deps_once toxiproxy "$(toxiproxy_dir)/toxiproxy" toxiproxy_build
}

toxiproxy_build() {
    local work=$1 dir
    dir=$(toxiproxy_dir)
    say "building toxiproxy"
    cd "$TOXIPROXY"
    deps_logged Go "$CACHE/toxiproxy.log" env CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off \
        GOPATH="$work/go" GOCACHE="$work/cache" GOFLAGS="-mod=readonly -modcacherw -trimpath" \
        "$DEBIAN_GO" build -p 2 -o "$work/out/toxiproxy" \
        github.com/Shopify/toxiproxy/v2/cmd/server || die "could not build toxiproxy"
    rm -rf "$dir"
    mv "$work/out" "$dir"
}
