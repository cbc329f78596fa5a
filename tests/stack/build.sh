# shellcheck shell=bash
# Builds, each in a directory of its own. Sourced by ./dev.

command_build() {
    case ${1:-} in
        "") build_program ;;
        --sanitize) build_sanitized ;;
        *) die "build: unknown option '$1'; there is --sanitize" ;;
    esac
}

# Test programs that are not built by default, because they take long or are needed seldom.
build_tests() {
    build_in "$1" -- meson-test-prereq
}

build_program() {
    deps_ensure base
    build_in build
}

# Without the optimizer: the sanitizers' code takes a third of the time to compile, runs as fast in
# tests that mostly wait, and no undefined behaviour is optimized out of their sight.
build_sanitized() {
    deps_ensure base
    build_in build-asan -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=0 "$@"
}

# build_in DIRECTORY MESON-OPTION... [-- NINJA-TARGET...]
build_in() {
    local dir=$ROOT/$1 options=()
    shift
    while [[ $# -gt 0 && $1 != -- ]]; do
        options+=("$1")
        shift
    done
    [[ $# == 0 ]] || shift
    mkdir -p "$dir"
    (
        flock 9 # two commands at once must not build in one directory
        if [[ ! -e $dir/build.ninja ]]; then
            say "configuring ${dir##*/}"
            if ! meson setup "$dir" "$ROOT" "${options[@]}" >"$dir/setup.log" 2>&1 9>&-; then
                cat "$dir/setup.log" >&2
                die "meson could not configure ${dir##*/}"
            fi
        fi
        [[ $# -gt 0 ]] || say "building ${dir##*/}"
        if [[ -t 1 ]]; then
            ninja -C "$dir" "$@" 9>&-
        else
            ninja --quiet -C "$dir" "$@" 9>&-
        fi
    ) 9>"$dir/.dev-lock"
}
