#!/bin/bash
# Installs with apt-get what a make target needs and this machine lacks.
# Says what it installs, asks nothing, and changes nothing that is there already.
#
# usage: integration/setup.sh build|demo|test|reference|engines|vm|bench|lint ...
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin

say() { echo "orlop: $*" >&2; }
fail() { say "$*"; exit 1; }
has() { command -v "$1" >/dev/null; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif has sudo; then sudo "$@"
    else fail "not root, and there is no sudo; this needs root: $*"
    fi
}

# Runs a command silently, unless it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

lists_are_new=
update_lists() {
    [ -n "$lists_are_new" ] && return
    has apt-get || fail "no apt-get here; install by hand: $*"
    say "reading the package lists (apt-get update)"
    quietly as_root apt-get -q update || say "apt-get update failed; going on with the old lists"
    lists_are_new=1
}

# --no-remove: a machine may lose nothing by `make run`.
install_packages() {
    update_lists "$@"
    say "installing with apt-get: $*"
    quietly as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y --no-remove --no-install-recommends install "$@" ||
        fail "apt-get could not install: $*"
}

packages=()
need() { # COMMAND PACKAGE...
    local command=$1
    shift
    has "$command" || packages+=("$@")
}

install_needed() {
    [ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
    packages=()
}

# A linker for rustc, and the libc that crates' build scripts are linked with.
need_linker() {
    need cc gcc
    [ -e /usr/include/stdlib.h ] || packages+=(libc6-dev)
}

# The static busybox that root file systems are made of. Where Debian's dynamic one is
# installed, which the static one would replace, it is unpacked aside instead.
need_busybox() {
    local busybox
    busybox=$(integration/busybox.sh) && [ -n "$busybox" ] && return
    if ! has busybox; then
        packages+=(busybox-static)
        return
    fi
    update_lists busybox-static
    say "unpacking busybox-static below target/busybox"
    mkdir -p target/busybox
    (cd target/busybox && quietly apt-get -q download busybox-static && dpkg -x ./*.deb . && rm ./*.deb) ||
        fail "cannot download busybox-static"
}

rust_version() { rustc --version 2>/dev/null | cut -d' ' -f2; }

rust_is_new_enough() {
    local found
    found=$(rust_version) && has cargo &&
        [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ]
}

# A toolchain that is new enough is taken as it is; one that is too old is left alone.
need_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    rust_is_new_enough && return
    if [ -n "$(rust_version)" ]; then
        fail "Rust $wanted or newer is needed, found $(rust_version): run \`rustup update stable\`, or see https://rustup.rs"
    fi
    if ! has rustup; then
        update_lists rustup
        [ -n "$(apt-cache search --names-only '^rustup$')" ] ||
            fail "Rust $wanted or newer is needed and this apt has no rustup: install Rust from https://rustup.rs, then run make again"
        install_packages rustup ca-certificates
    fi
    say "installing the stable Rust toolchain with rustup"
    { rustup set profile minimal && rustup default stable; } ||
        fail "rustup could not install Rust $wanted or newer: install it by hand, then run make again"
    rust_is_new_enough || fail "Rust $wanted or newer is needed, found $(rust_version)"
}

need_lints() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    has rustup || fail "cargo fmt and cargo clippy are needed: install rustfmt and rust-clippy"
    say "installing rustfmt and clippy with rustup"
    rustup component add rustfmt clippy
}

for what in "$@"; do
    case $what in
    build) need_linker ;;
    demo) need_busybox ;;
    test)
        need_busybox
        need ps procps
        need ip iproute2
        need strace strace
        ;;
    reference) need runc runc ;;
    engines)
        need containerd containerd
        need umoci umoci
        need skopeo skopeo
        need ip iproute2
        ;;
    vm)
        need debootstrap debootstrap
        need qemu-system-x86_64 qemu-system-x86
        need mkfs.ext4 e2fsprogs
        need zstd zstd
        ;;
    bench)
        need runc runc
        need crun crun
        need strace strace
        need_linker
        ;;
    lint) need shellcheck shellcheck ;;
    *) fail "setup.sh does not know '$what'" ;;
    esac
done
install_needed
for what in "$@"; do
    case $what in
    build) need_rust ;;
    lint) need_rust && need_lints ;;
    esac
done
