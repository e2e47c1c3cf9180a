#!/usr/bin/env bash
# TL;DR
#   ./build.sh                build the product: dist/chaos-agent-linux-amd64, static, nothing else needed
#   ./build.sh run            build it and run it on the built-in demonstration config (dry run)
#   ./build.sh test           every tier of tests; ./build.sh test unit kernel: only these
#   ./build.sh image          the scratch image, with docker, podman or buildah; without any, an archive of it
#   ./build.sh bench          every bench
#   ./build.sh size           the product's bytes by crate and by room of src/, and whether they are within the budget
#   ./build.sh fuzz           what reads foreign bytes, each part for half a minute; ./build.sh fuzz cron: only that
#   ./build.sh lint           format, clippy, shellcheck
#   ./build.sh docs           the tables of keys in README.md, as the binary declares them
#
# Usage: build.sh [binary|image|run|test|bench|size|fuzz|lint|docs] [options] [TIER...|TARGET...] [-- ARGUMENT...]
#   --arch amd64|arm64|386|armv7|riscv64|all
#                        for binary, image, size and test image (default: amd64); all: those that can be built here
#   --tiny               for binary, image and size: the standard library rebuilt for size, without backtraces
#   --oci [FILE]         image as an archive (default: dist/chaos-agent-VERSION-linux-ARCH.tar), made by sh, tar and
#                        sha256sum alone, with SHA256SUMS and a list of its parts (SBOM) beside it
#   --seconds N          for fuzz: how long each target is tried (default: 30)
#   --no-install         install nothing; say what is missing
#   --offline            use no network: cargo takes what it has, nothing is installed
#   -h, --help           this text
# Tiers: unit program pod image kernel ecosystem. Targets: the folders of tests/fuzz. What follows -- goes to the tests, the agent or the benches.
#
# On a fresh Debian machine, as root, every command installs by package name what it needs and says so. Without
# the rights or the network it says what to install; test then runs the tiers for which the machine has the
# parts and names those it skipped. With CI=true a skipped tier is a failure.
#
# Without a network, from a clone on a machine that has one and the same Rust with the same target:
#   mkdir -p .cargo && cargo vendor --locked --versioned-dirs vendor >.cargo/config.toml
# Carry the folder over; there, ./build.sh --offline makes the same bytes.
# Exit code: 0 done, 1 failed, 64 wrong usage.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
# shellcheck source=tests/parts.sh
. tests/parts.sh
# shellcheck source=deploy/image/std.sh
. deploy/image/std.sh

readonly TIERS="unit program pod image kernel ecosystem" ARCHITECTURES="amd64 arm64 386 armv7 riscv64"
# A local name: no registry can answer for it. The manifests in deploy/ use the same.
VERSION=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)
readonly VERSION IMAGE=localhost/chaos-agent:$VERSION

arch=amd64 tiny="" oci="" archive=""
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
    386) echo i686-unknown-linux-musl ;;
    armv7) echo armv7-unknown-linux-musleabihf ;;
    riscv64) echo riscv64gc-unknown-linux-musl ;;
    *) usage "unknown architecture: $1; amd64, arm64, 386, armv7, riscv64 or all" ;;
    esac
}

# cargo for the product's target: rust-lld, which every rustup toolchain has, so that no C compiler is needed;
# folds equal functions and packs relocations. No path of this machine gets into the binary: crates are where
# `cargo vendor` would put them, Rust's own sources (if the component is there) where they are if it is not.
product_cargo() { # target, cargo arguments
    local target=$1 unit=$'\x1f' flags=() folder
    shift
    cargo fetch -q "${cargo_options[@]}" --target "$target" # before the folders are looked at
    # A function with much on its stack is not put into its only caller: each early return of it would have to drop all
    # that the caller holds (17 kB).
    flags+=(-Cllvm-args=-inline-max-stacksize=180 -Clink-arg=--icf=all -Clink-arg=--pack-dyn-relocs=relr -Ctarget-feature=+crt-static
        "--remap-path-prefix=$PWD=." "--remap-path-prefix=$(rust_source)=/rustc/$(rust_commit)")
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags+=("--remap-path-prefix=$folder=./vendor")
    done
    local joined
    joined=$(printf "%s$unit" "${flags[@]}")
    local linker=CARGO_TARGET_${target^^}_LINKER
    env -u RUSTFLAGS "${std_environment[@]}" "${linker//-/_}=rust-lld" CARGO_ENCODED_RUSTFLAGS="${joined%"$unit"}" \
        cargo "$1" "${cargo_options[@]}" "${std_options[@]}" --target "$target" "${@:2}"
}

# --- commands -----------------------------------------------------------------------------------------

product() { echo "dist/chaos-agent-linux-$1${tiny:+-tiny}"; } # architecture

# What the linker says of it; absolute, as cargo links in the folder of the package.
map_of() { echo "$(readlink -m "$TARGET_DIR")/$(rust_target "$1")/$(basename "$(product "$1")").map"; }

wanted() { if [ "$arch" = all ]; then echo "$ARCHITECTURES"; else echo "$arch"; fi; }

built=()

binary() { # what is wanted; with "all", what can be had, and says what cannot
    local one missing=()
    built=()
    toolchain
    for one in $(wanted); do
        if can_build "$(rust_target "$one")"; then
            compile "$one"
        elif [ "$one" = amd64 ] && [ -z "$tiny" ] && [ "$(uname -m)" = x86_64 ] && [ -z "${CI:-}" ]; then
            compile_with_glibc
        elif [ "$arch" = all ]; then
            missing+=("$one")
            continue
        else
            die "cannot build for $one: $(how_to_get "$(rust_target "$one")")"
        fi
        built+=("$one")
    done
    [ ${#built[@]} -gt 0 ] || die "cannot build: no standard library for any of $(wanted)"
    for one in "${missing[@]}"; do
        say "WARNING: not built for $one: $(how_to_get "$(rust_target "$one")")"
    done
}

# What LLVM does for speed even under opt-level z, and sequences of instructions that several functions have made a
# function of their own (17 kB): for the last step, which makes the code of all crates. On 386 code that may lie
# anywhere must ask for its own address in every function (70 kB), and the few bits by which 32-bit addresses vary are
# found out by trying: there the program has one place.
shorter() { # architecture
    [ "$1" != 386 ] || echo -Crelocation-model=static
    printf -- '-Cllvm-args=%s\n' -min-jump-table-entries=10 -switch-to-lookup=false \
        -tail-merge-size=2 -tail-dup-placement=0 -jump-threading-threshold=2 -enable-load-pre=false -disable-licm-promotion
    echo -Cllvm-args=-enable-machine-outliner=always
}

compile() { # architecture
    local target shorter
    target=$(rust_target "$1")
    mapfile -t shorter < <(shorter "$1")
    std_for "$target"
    # Not for the test programs, which unwind: without the unwinder's tables, as src/linux/sys/unwind.ld says.
    # The map, which the linker writes beside it, says what every byte is; it changes none.
    product_cargo "$target" rustc --release --bin chaos-agent -- "${std_link[@]}" \
        "-Clink-arg=-Map=$(map_of "$1")" \
        -Clink-arg=-Tsrc/linux/sys/unwind.ld -Clink-arg=-Tsrc/linux/sys/rest.ld -Clink-arg=--no-eh-frame-hdr -Clink-arg=-O2 \
        -Clink-arg=--ignore-data-address-equality "${shorter[@]}" # equal constants too: none is known by its address
    std_ordinary
    deliver "$TARGET_DIR/$target/release/chaos-agent" "$1"
    check_static "$1"
}

compile_with_glibc() {
    local target=x86_64-unknown-linux-gnu
    say "WARNING: no standard library for $(rust_target amd64)."
    say "WARNING: this is a static glibc build, larger, for development only; do not ship it."
    env -u RUSTFLAGS CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-Ctarget-feature=+crt-static \
        cargo build "${cargo_options[@]}" --release --bin chaos-agent --target "$target"
    deliver "$TARGET_DIR/$target/release/chaos-agent" amd64
    check_static amd64
}

deliver() { # file, architecture
    local to
    to=$(product "$2")
    mkdir -p dist
    # A new file, not new bytes in the old one: the old one may be running.
    cp "$1" "$to.new"
    mv "$to.new" "$to"
    say "$to: $(stat -c %s "$to") bytes"
}

check_static() { # architecture
    have readelf || return 0
    local headers
    headers=$(readelf -hldW "$(product "$1")" 2>/dev/null)
    [[ $headers != *INTERP* && $headers != *"(NEEDED)"* ]] || die "$(product "$1") is not static"
    # rustc links static programs for the other machines at a fixed address.
    [ "$1" != amd64 ] || [[ $headers == *"Type:"*DYN* ]] || die "$(product "$1") is not position independent"
}

image() {
    local tool one
    binary
    for one in "${built[@]}"; do
        small_enough "$one"
    done
    if [ -z "$oci" ] && [ "$arch" != all ] && tool=$(image_builder); then
        built_image "$tool"
    else
        [ -n "$oci" ] || say "no docker, podman or buildah that works, or several architectures: archives (--oci)"
        image_archives
    fi
}

# What the product may weigh: a change that needs more says so here.
most_bytes() { if [ "$1" = amd64 ]; then echo 985000; else echo 1000000; fi; } # architecture

small_enough() { # architecture
    local bytes most
    bytes=$(stat -c %s "$(product "$1")") most=$(most_bytes "$1")
    [ "$bytes" -le "$most" ] || die "the product for $1 is larger than $most bytes: $bytes"
}

size() { # what every byte of the product is; from the linker's map of the very product, so the sum is the file's
    local one target
    provide python3=python3 || die "cannot read the linker's map: apt-get install python3"
    binary
    for one in "${built[@]}"; do
        target=$(rust_target "$one")
        [ -e "$(map_of "$one")" ] || die "cannot tell the parts of $(product "$one"): only a build for $target has a map"
        product "$one"
        benches/size.py "$(product "$one")" "$(map_of "$one")" "$TARGET_DIR/$target/release/deps" \
            "$(rustc --print target-libdir --target "$target")"
    done
    for one in "${built[@]}"; do
        say "size of the product for $one: $(stat -c %s "$(product "$one")") of at most $(most_bytes "$one") bytes"
        small_enough "$one"
    done
}

revision() { # the commit, and whether the files are those of it
    local commit
    commit=$(git rev-parse HEAD 2>/dev/null) || { echo unknown; return; }
    [ -z "$(git status --porcelain --untracked-files=no 2>/dev/null)" ] || commit+=-dirty
    echo "$commit"
}

# The date of everything that says one: that of the commit, so that the same sources make the same bytes.
created() { echo "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}"; }

built_image() { # builder
    local staged="$TARGET_DIR/image"
    # Only what the image is made of, so that no builder copies target/ around.
    rm -rf "$staged" && mkdir -p "$staged/dist"
    cp "$(product "$arch")" "$staged/dist/chaos-agent-linux-$arch" && cp Dockerfile.scratch "$staged/"
    local what=(-f "$staged/Dockerfile.scratch" --platform "linux/${arch/armv7/arm/v7}" --build-arg "ARCH=$arch"
        --build-arg "VERSION=$VERSION" --build-arg "REVISION=$(revision)" -t "$IMAGE"
        --label "org.opencontainers.image.created=$(date -u -d "@$(created)" +%Y-%m-%dT%H:%M:%SZ)")
    [ -z "${IMAGE_SOURCE:-}" ] || what+=(--label "org.opencontainers.image.source=$IMAGE_SOURCE")
    "$1" build "${what[@]}" "$staged"
    say "$IMAGE by $1: $(stat -c %s "$(product "$arch")") bytes in one file"
}

# An archive an architecture, one of all of them if there are several, and beside them SHA256SUMS and the SBOM.
image_archives() {
    local one file stem folder pairs=() made=()
    file=${archive:-dist/chaos-agent-$VERSION${tiny:+-tiny}$([ "$arch" = all ] || echo "-linux-$arch").tar}
    stem=${file%.tar} folder=$(dirname "$file")
    mkdir -p "$folder"
    CREATED=$(created) REVISION=$(revision) NAME=$IMAGE SOURCE=${IMAGE_SOURCE:-} CARGO_OPTIONS="${cargo_options[*]}"
    export VERSION CREATED REVISION NAME SOURCE CARGO_OPTIONS
    for one in "${built[@]}"; do
        pairs+=("$one=$(product "$one")")
        [ "$arch" = all ] || continue
        made+=("$stem-linux-$one.tar")
        deploy/image/oci.sh "$stem-linux-$one.tar" "${pairs[-1]}"
    done
    deploy/image/oci.sh "$file" "${pairs[@]}"
    made+=("$file")
    deploy/image/sbom.sh "$(rust_target "${built[0]}")" >"$stem.cdx.json"
    made+=("$stem.cdx.json")
    (cd "$folder" && sha256sum "${made[@]##*/}") >"$folder/SHA256SUMS"
    for one in "${made[@]}"; do
        say "$one: $(stat -c %s "$one") bytes"
    done
    say "$folder/SHA256SUMS; the image is $IMAGE"
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
    exec "$(product "$arch")" run "${arguments[@]}"
}

lint() {
    local failed=0 scripts=() one target
    toolchain
    component fmt rustfmt rustfmt || die "cannot check the format: rustup component add rustfmt"
    component clippy clippy rust-clippy || die "cannot run clippy: rustup component add clippy"
    provide shellcheck=shellcheck || die "cannot check the scripts: apt-get install shellcheck"
    mapfile -t scripts < <(find . \( -path ./target -o -path ./dist -o -path ./.git \) -prune -o -type f \
        -exec awk 'FNR == 1 { if (/^#!.*sh$/ || /^# shellcheck shell/) print FILENAME; nextfile }' {} +)
    say "shellcheck of ${#scripts[@]} scripts"
    shellcheck -x "${scripts[@]}" || failed=1
    cargo fmt --check || failed=1
    cargo fmt --check --manifest-path tests/fuzz/Cargo.toml || failed=1
    cargo clippy "${cargo_options[@]}" --all-targets -- -D warnings || failed=1
    # The tiers that a plain `cargo test` leaves alone are no part of --all-targets either.
    cargo clippy "${cargo_options[@]}" --test pod --test image --test kernel --test ecosystem -- -D warnings || failed=1
    for one in amd64 386; do # what differs between the C libraries, and on 32 bits, shows only here
        target=$(rust_target "$one")
        ! standard_library "$target" || product_cargo "$target" clippy -- -D warnings || failed=1
    done
    [ $failed = 0 ] || die "lint found something"
    say "lint: clean"
}

docs() { # README.md's tables of keys, between the lines that mark them
    local made
    binary
    made=$(mktemp)
    "$(product "$arch")" reference | awk '
        NR == FNR { # the tables, each with its marks
            if (/^<!-- keys: /) mark = $0
            table[mark] = table[mark] $0 "\n"
            next
        }
        $0 in table { printf "%s", table[$0]; inside = 1 }
        !inside
        /^<!-- end -->$/ { inside = 0 }' - README.md >"$made"
    cat "$made" >README.md
    rm "$made"
    say "README.md: the tables of keys are those of $(product "$arch")"
}

bench() {
    binary
    provide python3=python3 || say "WARNING: without python3 some benches are left out"
    local script failed=0
    CHAOS_AGENT=$(readlink -f "$(product amd64)")
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

fuzz() { # targets
    toolchain
    FUZZ_SECONDS=$seconds tests/fuzz/run.sh "$@"
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
    cargo test "${cargo_options[@]}" --no-fail-fast --lib --bins --test layers --test props -- "${arguments[@]}"
}

tier_program() {
    cargo test "${cargo_options[@]}" --test program -- "${arguments[@]}"
}

tier_pod() {
    [ -z "$product_missing" ] || lacking "$product_missing"
    tests/pod/run.sh "${arguments[@]}"
}

tier_image() {
    [ -z "$product_missing" ] || lacking "$product_missing"
    tests/image/run.sh "$image_architectures" "${arguments[@]}"
}

tier_kernel() {
    [ -z "$product_missing" ] || lacking "$product_missing"
    product_cargo x86_64-unknown-linux-musl test --test kernel --no-run --message-format=json \
        >"$TARGET_DIR/kernel.json" || return 1
    local program
    program=$(sed -n '/"name":"kernel"/s/.*"executable":"\([^"]*\)".*/\1/p' "$TARGET_DIR/kernel.json" | tail -n 1)
    tests/kernel/run.sh "$(product amd64)" "$program" "${arguments[@]}"
}

tier_ecosystem() {
    tests/ecosystem/run.sh "${arguments[@]}"
}

tests() {
    local name product_missing="" wanted=("$@")
    local image_architectures="amd64 arm64 386"
    [ "$arch" != all ] || image_architectures=$ARCHITECTURES
    arch=amd64
    [ ${#wanted[@]} -gt 0 ] || read -ra wanted <<<"$TIERS"
    toolchain
    if [[ " ${wanted[*]} " =~ \ (pod|image|kernel|ecosystem)\  ]]; then
        binary
        CHAOS_AGENT=$(readlink -f "$(product amd64)")
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
    local command="" tiers=() seconds=${FUZZ_SECONDS:-}
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage ;;
        --arch) [ $# -gt 1 ] || usage "--arch needs a value"; arch=$2; shift ;;
        --arch=*) arch=${1#*=} ;;
        --tiny) tiny=1 ;;
        --oci)
            oci=1
            case ${2:-} in *.tar) archive=$2; shift ;; esac
            ;;
        --oci=*) oci=1 archive=${1#*=} ;;
        --seconds) [ $# -gt 1 ] || usage "--seconds needs a value"; seconds=$2; shift ;;
        --seconds=*) seconds=${1#*=} ;;
        --no-install) export NO_INSTALL=1 ;;
        --offline) export OFFLINE=1 NO_INSTALL=1 ;;
        --) shift; arguments=("$@"); break ;;
        -*) usage "unknown option: $1" ;;
        *)
            if [ -z "$command" ]; then
                command=$1
            elif [ "$command" = test ] && [[ " $TIERS " == *" $1 "* ]]; then
                tiers+=("$1")
            elif [ "$command" = fuzz ]; then
                tiers+=("$1")
            else
                usage "unknown word: $1"
            fi
            ;;
        esac
        shift
    done
    [ "$arch" = all ] || rust_target "$arch" >/dev/null
    case ${command:-binary} in
    binary | image | run | bench | size | lint | docs) "${command:-binary}" ;;
    test) tests "${tiers[@]}" ;;
    fuzz)
        [[ $seconds =~ ^[0-9]*$ ]] || usage "--seconds takes a whole number, not $seconds"
        fuzz "${tiers[@]}"
        ;;
    *) usage "unknown command: $command" ;;
    esac
}

main "$@"
