# shellcheck shell=bash
# Builds, each in a directory of its own. Sourced by ./dev.

command_build() {
    case ${1:-} in
        "") build_program ;;
        --sanitize) build_sanitized ;;
        *) die "build: unknown option '$1'; there is --sanitize" ;;
    esac
}

build_program() {
    deps_ensure base
    build_in build
}

build_sanitized() {
    deps_ensure base
    build_in build-asan -Db_sanitize=address,undefined -Db_lundef=false
}

# build_in DIRECTORY MESON-OPTION...
build_in() {
    local dir=$ROOT/$1
    shift
    mkdir -p "$dir"
    (
        flock 9 # two commands at once must not build in one directory
        if [[ ! -e $dir/build.ninja ]]; then
            meson setup "$dir" "$ROOT" "$@" 9>&-
        fi
        ninja -C "$dir" 9>&-
    ) 9>"$dir/.dev-lock"
}
