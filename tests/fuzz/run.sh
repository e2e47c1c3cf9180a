#!/usr/bin/env bash
# TL;DR: ./build.sh fuzz [TARGET...] [--seconds N]
#
# Builds the targets (targets.rs) and lets libFuzzer look for inputs that break them: all, or those named, each for so
# many seconds, as many at once as there are processors. A stable toolchain does it: the coverage that guides the search
# is counted by a pass of LLVM (-Cpasses=sancov-module), without -Zsanitizer; libFuzzer itself comes as source with the
# crate libfuzzer-sys and takes a C++ compiler. Overflows and assertions count as breaking.
#
# It begins with the seeds in tests/fuzz/TARGET and what earlier runs found of interest in target/fuzz/corpus/TARGET. What
# breaks a target is left as tests/fuzz/TARGET/found-*: mend the code and commit the file under a name that says what it is;
# the unit tier runs every seed from then on.
# Environment: FUZZ_SECONDS, for each target (30, or less so that all take three minutes at most).
# Exit code: 0 nothing found, 1 something, or a part is missing, 64 no such target.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=tests/parts.sh
. tests/parts.sh

readonly HOME_DIR=$TARGET_DIR/fuzz
readonly LOGS=$HOME_DIR/logs

compile() { # prints the program
    local host pass=-Cllvm-args=-sanitizer-coverage
    provide c++=g++ || die "cannot build libFuzzer: apt-get install g++"
    host=$(rustc -vV | sed -n 's/^host: //p')
    # Named by --target, so that the flags are not those of build scripts too.
    RUSTFLAGS="-Cpasses=sancov-module $pass-level=4 $pass-inline-8bit-counters $pass-pc-table $pass-trace-compares --cfg fuzzing" \
        CARGO_TARGET_DIR=$HOME_DIR cargo build ${OFFLINE:+--offline} --locked --release --target "$host" \
        --manifest-path tests/fuzz/Cargo.toml >&2
    echo "$HOME_DIR/$host/release/fuzz"
}

one() { # program, seconds, target
    local seeds=tests/fuzz/$3 log=$LOGS/$3.log status=0
    mkdir -p "$HOME_DIR/corpus/$3"
    # Slow is broken as well: an input of this size takes milliseconds.
    FUZZ_TARGET=$3 "$1" -max_total_time="$2" -timeout=20 -rss_limit_mb=1024 -max_len=4096 \
        -artifact_prefix="$seeds/found-" "$HOME_DIR/corpus/$3" "$seeds" >"$log" 2>&1 || status=$?
    if [ "$status" = 0 ]; then
        say "fuzz $3: nothing found; $(sed -n 's/^#\([0-9]*\).DONE *cov: \([0-9]*\) .*/\1 inputs, \2 edges/p' "$log")"
    else
        grep -a -m 1 -A 4 'panicked at' "$log" >&2 || tail -n 20 "$log" >&2
        grep -a 'Test unit written' "$log" >&2 || true
        say "fuzz $3: FOUND (exit code $status); all of it is in $log"
        return 1
    fi
}

main() {
    local program known target processors seconds
    program=$(compile)
    known=$("$program" 2>/dev/null)
    [ $# -gt 0 ] || mapfile -t <<<"$known"
    [ $# -gt 0 ] || set -- "${MAPFILE[@]}"
    for target in "$@"; do
        grep -qx -- "$target" <<<"$known" || { say "no target $target; there are $(paste -s -d ' ' <<<"$known")"; exit 64; }
    done
    processors=$(nproc)
    seconds=$((180 * processors / $(wc -l <<<"$known")))
    seconds=${FUZZ_SECONDS:-$((seconds < 30 ? seconds : 30))}
    mkdir -p "$LOGS"
    export -f one say
    export HOME_DIR LOGS
    say "fuzz: $# targets for $seconds s each, $processors at once"
    printf '%s\n' "$@" | xargs -P "$processors" -I '{}' bash -c 'one "$@"' one "$program" "$seconds" '{}' ||
        die "fuzzing found something"
}

main "$@"
