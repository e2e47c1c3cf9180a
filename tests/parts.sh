# shellcheck shell=bash
# The parts that a machine must have, found or installed by package name. Sourced by build.sh and by the tiers'
# own scripts; nothing here runs by itself.

NO_INSTALL=${NO_INSTALL:-}
OFFLINE=${OFFLINE:-}
TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

say() { echo "build.sh: $*" >&2; }
die() {
    say "$*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]; }

# Ends a tier whose machine lacks a part: build.sh counts it as skipped, not as passed.
lacking() {
    say "MISSING: $*"
    exit 75
}

may_install() { [ -z "$NO_INSTALL" ]; }
may_use_apt() { may_install && [ "$(id -u)" = 0 ] && have apt-get; }

refresh_packages() { # once a day is enough
    [ -z "$OFFLINE" ] && [ "$(id -u)" = 0 ] && have apt-get || return 1
    [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -1 -print -quit 2>/dev/null)" ] || return 0
    apt-get update -q >&2
}

install_packages() { # names; says what it does; 1 where it may not or cannot
    if ! may_use_apt; then
        say "missing: apt-get install $*"
        return 1
    fi
    say "installing: $*"
    refresh_packages || true
    # Nothing that comes with a service starts it: RUNLEVEL=1 is what invoke-rc.d asks.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@" >&2 </dev/null
}

# provide PART=PACKAGE...: installs the packages of those parts that are missing. A part is a command, a file
# (it has a slash), or libc (the C library's headers).
provide() {
    local pair part packages=()
    for pair in "$@"; do
        part=${pair%%=*}
        case $part in
        libc) part=/usr/include/stdio.h ;;
        esac
        case $part in
        */*) [ -e "$part" ] || packages+=("${pair#*=}") ;;
        *) have "$part" || packages+=("${pair#*=}") ;;
        esac
    done
    [ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
}

# /bin/busybox, the static one: the other of Debian's two has the same name and does not run alone.
provide_busybox() {
    provide /bin/busybox=busybox-static readelf=binutils || return 1
    static_busybox || { install_packages busybox-static && static_busybox; }
}
static_busybox() { [[ $(readelf -lW /bin/busybox) != *INTERP* ]]; }

# unpack PACKAGE FOLDER: a Debian package's files in a folder of ours; nothing is installed, no service starts,
# no rights are needed. Kept for the next time.
unpack() {
    local package=$1 folder=$2 cache=$TARGET_DIR/parts deb
    [ ! -e "$folder/.complete" ] || return 0
    have apt-get && have dpkg-deb && [ -z "$OFFLINE" ] || return 1
    mkdir -p "$cache"
    (cd "$cache" && apt-get download -q "$package" >&2) || return 1
    deb=$(find "$cache" -name "${package}_*.deb" -print -quit)
    [ -n "$deb" ] || return 1
    rm -rf "$folder" && mkdir -p "$folder"
    dpkg-deb -x "$deb" "$folder" && rm -f "$deb" && touch "$folder/.complete"
}

# python_packages FOLDER PACKAGE...: a virtual environment with these packages, made anew when they change.
python_packages() {
    local venv=$1
    shift
    [ "$(cat "$venv/.versions" 2>/dev/null)" != "$*" ] || return 0
    [ -z "$OFFLINE" ] || return 1
    rm -rf "$venv"
    python3 -m venv "$venv" >/dev/null 2>&1 ||
        { install_packages python3-venv && python3 -m venv "$venv"; } || return 1
    "$venv/bin/pip" -q --disable-pip-version-check install "$@" || return 1
    echo "$*" >"$venv/.versions"
}
