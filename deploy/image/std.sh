# shellcheck shell=bash
# Rust's standard library for the product: the one that rustup brings, or, for boards for which it has none and for
# `--tiny`, one built here from its own source. Sourced by build.sh; nothing here runs by itself.
#
# Building it uses what Rust calls unstable (RUSTC_BOOTSTRAP and -Zbuild-std), so the ordinary product does not.
# It is built for size and without the reader of debug information. A target whose rust-std is missing has no musl
# either: its start files and libc.a are then made by the compiler in the Python package `ziglang`, which carries
# musl's source; rust-lld links as ever.

readonly ZIG=ziglang==0.13.0

# shellcheck disable=SC2034 # read by build.sh
std_environment=() std_options=() std_link=()
std_ordinary() { std_environment=() std_options=() std_link=(); }

rust_source() { echo "$(rustc --print sysroot)/lib/rustlib/src/rust"; }
rust_commit() { rustc -vV | sed -n 's/^commit-hash: //p'; }

standard_library() { # target: is its standard library there, or can it be brought?
    local folder
    folder=$(rustc --print target-libdir --target "$1" 2>/dev/null) || return 1
    compgen -G "$folder/libstd-*.rlib" >/dev/null && return
    have rustup && may_install || return 1
    [ -z "${not_to_be_had[$1]:-}" ] || return 1
    say "the standard library for $1: rustup target add"
    rustup target add "$1" && return
    not_to_be_had[$1]=1
    return 1
}
declare -A not_to_be_had=()

can_build() { # target
    { [ -z "$tiny" ] && standard_library "$1"; } || { std_source && musl_for "$1"; }
}

std_for() { # target, which can_build has found possible: sets what cargo needs besides
    std_ordinary
    [ -n "$tiny" ] || ! standard_library "$1" || return 0
    say "the standard library for $1 is built from source, for size"
    local folder file
    # shellcheck disable=SC2034 # read by build.sh
    std_environment=(RUSTC_BOOTSTRAP=1)
    # shellcheck disable=SC2034
    std_options=("-Zbuild-std=std,panic_abort" -Zbuild-std-features=optimize_for_size)
    ! has_musl "$1" || return 0
    folder=$(musl_folder "$1")
    # For the last step only: flags of every crate would bring the folder's name into their symbols.
    std_link=(-Clink-self-contained=no "-L$folder")
    for file in "$folder"/crt*.o; do
        std_link+=("-Clink-arg=$file")
    done
}

std_source() {
    [ ! -e "$(rust_source)/library/Cargo.lock" ] || return 0
    have rustup && may_install || return 1
    say "the standard library's source: rustup component add rust-src"
    rustup component add rust-src
}

has_musl() { [ -e "$(rustc --print target-libdir --target "$1")/self-contained/crt1.o" ]; }
musl_folder() { echo "$TARGET_DIR/musl/$1"; }

musl_for() { # target: are musl's start files and libc.a there, or can they be made?
    local folder triple cpu
    ! has_musl "$1" || return 0
    folder=$(musl_folder "$1")
    [ ! -e "$folder/.complete" ] || return 0
    case $1 in
    armv7-*) triple=arm-linux-musleabihf cpu=cortex_a7 ;;
    riscv64gc-*) triple=riscv64-linux-musl cpu=baseline_rv64 ;;
    aarch64-*) triple=aarch64-linux-musl cpu=baseline ;;
    x86_64-*) triple=x86_64-linux-musl cpu=baseline ;;
    *) return 1 ;;
    esac
    zig || return 1
    say "musl for $1, by $ZIG"
    rm -rf "$folder" && mkdir -p "$folder/cache"
    echo 'int main(void) { return 0; }' >"$folder/empty.c"
    # Any program makes it build them; they are what it leaves in its cache.
    ZIG_GLOBAL_CACHE_DIR=$folder/cache ZIG_LOCAL_CACHE_DIR=$folder/cache "$(zig_program)" cc -target "$triple" \
        -mcpu="$cpu" -Os -fno-lto -g0 -static "$folder/empty.c" -o "$folder/empty" 2>"$folder/log" || return 1
    local file found
    for file in crt1.o crti.o crtn.o libc.a; do
        found=$(find "$folder/cache" -name "$file" -printf '%s %p\n' | sort -n | sed -n '1s/^[0-9]* //p')
        [ -z "$found" ] || cp "$found" "$folder/"
    done
    # Nothing unwinds (src/linux/sys/unwind.rs); std asks for the library all the same.
    printf '!<arch>\n' >"$folder/libunwind.a"
    [ -e "$folder/crt1.o" ] && [ -e "$folder/libc.a" ] && rm -rf "$folder/cache" && touch "$folder/.complete"
}

zig_program() { echo "$TARGET_DIR/parts/zig/ziglang/zig"; }

zig() {
    [ ! -x "$(zig_program)" ] || return 0
    [ -z "$OFFLINE" ] && may_install || return 1
    provide python3=python3 pip3=python3-pip || return 1
    say "$ZIG: pip install, under target/"
    python3 -m pip -q --disable-pip-version-check install --no-deps --target "$TARGET_DIR/parts/zig" "$ZIG" 2>/dev/null
}

how_to_get() { # target: what to do when neither is possible
    local version
    version=$(rustc --version | cut -d ' ' -f 2)
    if [ -n "$tiny" ]; then
        echo "the standard library's source is missing; rustup component add rust-src, or leave --tiny out"
        return
    fi
    echo "this Rust ($version) has no standard library for $1; with a network: rustup target add $1 (RUSTUP_DIST_SERVER" \
        "names a mirror); without: unpack rust-std-$version-$1.tar.xz of the release and run its install.sh" \
        "--prefix=$(rustc --print sysroot), or copy lib/rustlib/$1 of a machine with the same Rust"
}
