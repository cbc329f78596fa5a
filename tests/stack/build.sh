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
    if [[ ! -e $dir/build.ninja ]]; then
        meson setup "$dir" "$ROOT" "$@"
    fi
    ninja -C "$dir"
}
