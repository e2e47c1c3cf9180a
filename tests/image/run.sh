#!/usr/bin/env bash
# TL;DR: ./build.sh test image [--arch all] [-- FILTER...]   (CHAOS_AGENT names the product)
#
# Runs the image tier: the archives of `build.sh image --oci` loaded and run by podman, containerd and docker; the
# product built again in another folder from vendored crates, without a network; the program tier on the binaries of
# other machines, under QEMU's user emulation. Finds or installs what that needs. Everything is made under target/image
# (sockets in /tmp: their paths are short); no daemon of the machine is used, none is left running.
# Exit code: 0 all passed, 1 failed, 75 a part is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=tests/parts.sh
. tests/parts.sh

readonly VALIDATOR="cyclonedx-python-lib[json-validation]==11.12.0" FOLDER=$TARGET_DIR/image-tier
read -ra architectures <<<"$1"
shift

# The project's files in another folder, with the crates beside them: what one carries to a machine without a network.
carried_folder() {
    local to=$FOLDER/carried
    rm -rf "$to" && mkdir -p "$to/.cargo"
    { git ls-files -z --cached --others --exclude-standard 2>/dev/null ||
        find . \( -path ./target -o -path ./dist \) -prune -o -type f -print0; } |
        while IFS= read -r -d '' file; do [ ! -f "$file" ] || printf '%s\0' "$file"; done |
        tar --null -T - -cf - | tar -C "$to" -xf -
    (cd "$to" && cargo vendor "${offline[@]}" --locked --versioned-dirs vendor >.cargo/config.toml 2>vendor.log)
}

[ "$(id -u)" = 0 ] || lacking "root (containers are run)"
mapfile -t offline < <([ -z "$OFFLINE" ] || echo --offline)
provide podman=podman runc=runc conmon=conmon catatonit=catatonit ctr=containerd python3=python3 \
    qemu-aarch64-static=qemu-user-static unshare=util-linux || lacking "packages for the image tier"
# docker's own client: a machine may have another program of this name.
provide dockerd=docker.io || lacking "docker.io"
python_packages "$FOLDER/venv" "$VALIDATOR" || lacking "pip install $VALIDATOR"
carried_folder || lacking "the crates that cargo vendor copies"

say "the program tier's program, for the other machines"
cargo test --locked "${offline[@]}" --test program --no-run --message-format=json >"$FOLDER/program.json"
CHAOS_PROGRAM_TIER=$(sed -n '/"name":"program"/s/.*"executable":"\([^"]*\)".*/\1/p' "$FOLDER/program.json" | tail -n 1)
CHAOS_BOARDS=""
for one in "${architectures[@]}"; do
    [ "$one" != amd64 ] || continue
    ./build.sh binary --arch "$one"
    CHAOS_BOARDS+=" $one=$PWD/dist/chaos-agent-linux-$one"
done
./build.sh image --arch amd64 --oci "$FOLDER/archive.tar"
export CHAOS_PROGRAM_TIER CHAOS_BOARDS CHAOS_TARGET=$TARGET_DIR
rm -f "$FOLDER/boards.txt"
status=0
cargo test --locked "${offline[@]}" --test image -- --test-threads=1 "$@" || status=1
[ ! -e "$FOLDER/boards.txt" ] || cat "$FOLDER/boards.txt"
exit $status
