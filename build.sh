#!/usr/bin/env bash
# TL;DR
#   ./build.sh                build the product: dist/chaos-agent-linux-amd64, static, nothing else needed
#   ./build.sh run            build it and run it on the built-in demonstration config (dry run)
#   ./build.sh test           every tier of tests; ./build.sh test unit kernel: only these
#   ./build.sh image          the scratch image, with docker, podman or buildah, whichever works
#   ./build.sh bench          every bench
#   ./build.sh lint           format, clippy, shellcheck
#
# Usage: build.sh [binary|image|run|test|bench|lint] [options] [TIER...] [-- ARGUMENT...]
#   --arch amd64|arm64|armv7|riscv64   for binary and image (default: amd64)
#   --no-install                       install nothing; say what is missing
#   --offline                          use no network: cargo takes what it has, nothing is installed
#   -h, --help                         this text
# Tiers: unit program pod kernel ecosystem. What follows -- goes to the tests, the agent or the benches.
#
# On a fresh Debian machine, as root, every command installs by package name what it needs and says so. Without
# the rights or the network it says what to install; test then runs the tiers for which the machine has the
# parts and names those it skipped. With CI=true a skipped tier is a failure.
# Exit code: 0 done, 1 failed, 64 wrong usage.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
# shellcheck source=tests/parts.sh
. tests/parts.sh

readonly TIERS="unit program pod kernel ecosystem"
# A local name: no registry can answer for it. The manifests in deploy/ use the same.
VERSION=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
readonly VERSION IMAGE=localhost/chaos-agent:$VERSION

arch=amd64
arguments=()

# --- the Rust toolchain ------------------------------------------------------------------------------

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

debian_has() { # package version: is what apt offers new enough?
    local offered
    offered=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
    [ -n "$offered" ] && [ "$offered" != "(none)" ] && at_least "$offered" "$2"
}

install_rust() {
    refresh_packages || true
    if debian_has rustup 0; then
        install_packages rustup
    elif debian_has rustc "$(wanted_rust)"; then
        install_packages cargo rustc
    else
        return 1
    fi
}

toolchain() { # cargo, new enough, and a linker for build scripts
    local wanted
    wanted=$(wanted_rust)
    [ -d "${CARGO_HOME:-$HOME/.cargo}/bin" ] && PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    have cargo || install_rust ||
        die "cannot find cargo: install Rust $wanted or newer, with rustup or from a Debian that has it (trixie-backports or newer: apt-get install rustup)"
    if ! cargo --version >/dev/null 2>&1 && have rustup && may_install; then
        say "the toolchain: rustup default stable"
        rustup set profile minimal
        rustup default stable
    fi
    local version
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || true
    if ! at_least "${version:-0}" "$wanted" && have rustup && may_install; then
        say "the toolchain: ${version:-none} is older than $wanted; rustup update stable"
        rustup update stable && version=$(cargo --version | cut -d ' ' -f 2)
    fi
    at_least "${version:-0}" "$wanted" ||
        die "cannot build with Rust ${version:-(none)}: $wanted or newer is needed; rustup update stable"
    provide cc=gcc libc=libc6-dev || die "cannot link build scripts: apt-get install gcc libc6-dev"
    cargo_options=(--locked)
    [ -z "$OFFLINE" ] || cargo_options+=(--offline)
}

component() { # cargo command, rustup component, Debian package
    cargo "$1" --version >/dev/null 2>&1 && return
    if have rustup && may_install; then
        rustup component add "$2"
    else
        provide "cargo-$1=$3"
    fi
}

rust_target() {
    case $1 in
    amd64) echo x86_64-unknown-linux-musl ;;
    arm64) echo aarch64-unknown-linux-musl ;;
    armv7) echo armv7-unknown-linux-musleabihf ;;
    riscv64) echo riscv64gc-unknown-linux-musl ;;
    *) usage "unknown architecture: $1; amd64, arm64, armv7 or riscv64" ;;
    esac
}

standard_library() { # is the target's standard library there, or can it be brought?
    local folder
    folder=$(rustc --print target-libdir --target "$1" 2>/dev/null) || return 1
    compgen -G "$folder/libstd-*.rlib" >/dev/null && return
    have rustup && may_install || return 1
    say "the standard library for $1: rustup target add"
    rustup target add "$1"
}

# cargo for the product's target: rust-lld, which every rustup toolchain has, so that no C compiler is needed;
# folds equal functions and packs relocations. Paths of this machine stay out of the binary.
product_cargo() { # target, cargo arguments
    local target=$1 unit=$'\x1f' flags=()
    shift
    flags+=(-Clink-arg=--icf=all -Clink-arg=--pack-dyn-relocs=relr -Ctarget-feature=+crt-static
        "--remap-path-prefix=$PWD=." "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo")
    local joined
    joined=$(printf "%s$unit" "${flags[@]}")
    local linker=CARGO_TARGET_${target^^}_LINKER
    env -u RUSTFLAGS "${linker//-/_}=rust-lld" CARGO_ENCODED_RUSTFLAGS="${joined%"$unit"}" \
        cargo "$1" "${cargo_options[@]}" --target "$target" "${@:2}"
}

# --- commands -----------------------------------------------------------------------------------------

product() { echo "dist/chaos-agent-linux-$arch"; }

binary() {
    toolchain
    local target
    target=$(rust_target "$arch")
    if standard_library "$target"; then
        # Not for the test programs, which unwind: without the unwinder's tables, as src/sys/unwind.ld says.
        product_cargo "$target" rustc --release --bin chaos-agent -- \
            -Clink-arg=-Tsrc/sys/unwind.ld -Clink-arg=--no-eh-frame-hdr -Clink-arg=-O2
        deliver "$TARGET_DIR/$target/release/chaos-agent"
        check_static
    elif [ "$arch" = amd64 ] && [ "$(uname -m)" = x86_64 ] && [ -z "${CI:-}" ]; then
        say "WARNING: no standard library for $target (rustup target add $target)."
        say "WARNING: this is a static glibc build, larger, for development only; do not ship it."
        target=x86_64-unknown-linux-gnu
        env -u RUSTFLAGS CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-Ctarget-feature=+crt-static \
            cargo build "${cargo_options[@]}" --release --bin chaos-agent --target "$target"
        deliver "$TARGET_DIR/$target/release/chaos-agent"
    else
        die "cannot build for $arch: no standard library for $target; rustup target add $target, or a toolchain that has it"
    fi
}

deliver() {
    mkdir -p dist
    # A new file, not new bytes in the old one: the old one may be running.
    cp "$1" "$(product).new"
    mv "$(product).new" "$(product)"
    say "$(product): $(stat -c %s "$(product)") bytes"
}

check_static() {
    have readelf || return 0
    local headers
    headers=$(readelf -hldW "$(product)" 2>/dev/null)
    [[ $headers != *INTERP* && $headers != *"(NEEDED)"* ]] || die "$(product) is not static"
    # rustc links static programs for the other machines at a fixed address.
    [ "$arch" != amd64 ] || [[ $headers == *"Type:"*DYN* ]] || die "$(product) is not position independent"
}

image() {
    binary
    local tool staged="$TARGET_DIR/image"
    # Only what the image is made of, so that no builder copies target/ around.
    rm -rf "$staged" && mkdir -p "$staged/dist"
    cp "$(product)" "$staged/dist/" && cp Dockerfile.scratch "$staged/"
    local what=(-f "$staged/Dockerfile.scratch" --platform "linux/${arch/armv7/arm/v7}" --build-arg "ARCH=$arch"
        --build-arg "VERSION=$VERSION"
        --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)" -t "$IMAGE")
    tool=$(image_builder) || { provide buildah=buildah && tool=buildah; } ||
        die "cannot build an image: apt-get install buildah, or podman, or docker"
    "$tool" build "${what[@]}" "$staged"
    local bytes
    bytes=$(stat -c %s "$(product)")
    say "$IMAGE by $tool: $bytes bytes in one file"
    [ "$bytes" -le 1000000 ] || die "the image is larger than 1,000,000 bytes"
}

image_builder() { # the first that answers; docker without its daemon does not
    local tool
    for tool in docker podman buildah; do
        have "$tool" && "$tool" info >/dev/null 2>&1 && echo "$tool" && return
    done
    return 1
}

run() {
    binary
    [ ${#arguments[@]} -gt 0 ] || arguments=(--demo)
    exec "$(product)" run "${arguments[@]}"
}

lint() {
    local failed=0 scripts=()
    toolchain
    component fmt rustfmt rustfmt || die "cannot check the format: rustup component add rustfmt"
    component clippy clippy rust-clippy || die "cannot run clippy: rustup component add clippy"
    provide shellcheck=shellcheck || die "cannot check the scripts: apt-get install shellcheck"
    mapfile -t scripts < <(find . \( -path ./target -o -path ./dist -o -path ./.git \) -prune -o -type f \
        -exec awk 'FNR == 1 { if (/^#!.*sh$/ || /^# shellcheck shell/) print FILENAME; nextfile }' {} +)
    say "shellcheck of ${#scripts[@]} scripts"
    shellcheck -x "${scripts[@]}" || failed=1
    cargo fmt --check || failed=1
    cargo clippy "${cargo_options[@]}" --all-targets -- -D warnings || failed=1
    # The tiers that a plain `cargo test` leaves alone are no part of --all-targets either.
    cargo clippy "${cargo_options[@]}" --test pod --test kernel --test ecosystem -- -D warnings || failed=1
    local target
    target=$(rust_target amd64)
    if standard_library "$target"; then # what differs between the C libraries shows only here
        product_cargo "$target" clippy -- -D warnings || failed=1
    fi
    [ $failed = 0 ] || die "lint found something"
    say "lint: clean"
}

bench() {
    binary
    provide python3=python3 || say "WARNING: without python3 some benches are left out"
    local script failed=0
    CHAOS_AGENT=$(readlink -f "$(product)")
    export CHAOS_AGENT
    if grep -q '^\[\[bench\]\]' Cargo.toml; then
        cargo bench "${cargo_options[@]}" --benches -- "${arguments[@]}" || failed=1
    fi
    for script in benches/*.sh; do
        [ -x "$script" ] || continue
        say "$script"
        "$script" "${arguments[@]}" || { say "$script failed"; failed=1; }
    done
    [ $failed = 0 ] || die "a bench failed"
}

# --- tests --------------------------------------------------------------------------------------------

passed=0 failed=0 skipped=()

# Runs one tier and adds what its cargo summaries say. A tier that ends badly without a failed test (it did not
# compile, the kernel did not come up) counts as one failure. Status 75 means that the machine lacks a part.
tier() {
    local name=$1 log=$TARGET_DIR/tests/$1.log status=0 good bad
    mkdir -p "$TARGET_DIR/tests"
    say "tier $name"
    set +e
    (set -e; "tier_$name") 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    set -e
    if [ "$status" = 75 ]; then
        skipped+=("$name ($(sed -n 's/^.*MISSING: //p; s/^.*missing: //p' "$log" | paste -s -d ,))")
        return
    fi
    good=$(sum_of passed "$log") bad=$(sum_of failed "$log")
    [ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
    if [ "$status" = 0 ] && [ "$good" = 0 ]; then
        say "tier $name ran no test"
        bad=1
    fi
    passed=$((passed + good)) failed=$((failed + bad))
    say "tier $name: $good passed, $bad failed"
}

sum_of() { # word, log: the sum of "N word" over the summaries of libtest
    grep -a '^test result: ' "$2" | grep -ao "[0-9]* $1" | awk '{ n += $1 } END { print n + 0 }'
}

tier_unit() {
    cargo test "${cargo_options[@]}" --no-fail-fast --lib --bins --test layers -- "${arguments[@]}"
}

tier_program() {
    cargo test "${cargo_options[@]}" --test program -- "${arguments[@]}"
}

tier_pod() {
    [ -z "$product_missing" ] || lacking "$product_missing"
    tests/pod/run.sh "${arguments[@]}"
}

tier_kernel() {
    [ -z "$product_missing" ] || lacking "$product_missing"
    product_cargo x86_64-unknown-linux-musl test --test kernel --no-run --message-format=json \
        >"$TARGET_DIR/kernel.json" || return 1
    local program
    program=$(sed -n '/"name":"kernel"/s/.*"executable":"\([^"]*\)".*/\1/p' "$TARGET_DIR/kernel.json" | tail -n 1)
    tests/kernel/run.sh "$(product)" "$program" "${arguments[@]}"
}

tier_ecosystem() {
    tests/ecosystem/run.sh "${arguments[@]}"
}

tests() {
    local name product_missing="" wanted=("$@")
    [ ${#wanted[@]} -gt 0 ] || read -ra wanted <<<"$TIERS"
    toolchain
    if [[ " ${wanted[*]} " =~ \ (pod|kernel|ecosystem)\  ]]; then
        binary
        CHAOS_AGENT=$(readlink -f "$(product)")
        export CHAOS_AGENT
        standard_library "$(rust_target amd64)" || product_missing="the standard library for $(rust_target amd64)"
    fi
    for name in "${wanted[@]}"; do
        tier "$name"
    done
    [ ${#skipped[@]} = 0 ] || printf 'build.sh: skipped tier: %s\n' "${skipped[@]}" >&2
    local line="$passed passed, $failed failed"
    [ ${#skipped[@]} = 0 ] || line+=", ${#skipped[@]} skipped"
    echo "$line"
    [ "$failed" = 0 ] && { [ "${CI:-}" != true ] || [ ${#skipped[@]} = 0 ]; }
}

# --- command line -------------------------------------------------------------------------------------

usage() {
    [ $# = 0 ] || echo "build.sh: $*" >&2
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' build.sh
    if [ $# = 0 ]; then exit 0; else exit 64; fi
}

main() {
    local command="" tiers=()
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage ;;
        --arch) [ $# -gt 1 ] || usage "--arch needs a value"; arch=$2; shift ;;
        --arch=*) arch=${1#*=} ;;
        --no-install) export NO_INSTALL=1 ;;
        --offline) export OFFLINE=1 NO_INSTALL=1 ;;
        --) shift; arguments=("$@"); break ;;
        -*) usage "unknown option: $1" ;;
        *)
            if [ -z "$command" ]; then
                command=$1
            elif [ "$command" = test ] && [[ " $TIERS " == *" $1 "* ]]; then
                tiers+=("$1")
            else
                usage "unknown word: $1"
            fi
            ;;
        esac
        shift
    done
    rust_target "$arch" >/dev/null
    case ${command:-binary} in
    binary | image | run | bench | lint) "${command:-binary}" ;;
    test) tests "${tiers[@]}" ;;
    *) usage "unknown command: $command" ;;
    esac
}

main "$@"
