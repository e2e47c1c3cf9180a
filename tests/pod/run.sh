#!/usr/bin/env bash
# TL;DR: ./build.sh test pod [-- FILTER...]   (CHAOS_AGENT names the product)
#
# Runs the pod tier: finds or installs podman and what it needs, then the libtest program. The tests keep their
# images and containers under target/pod and use no network; podman's own store is not touched.
# Exit code: 0 all passed, 1 failed, 75 a part is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=tests/parts.sh
. tests/parts.sh

[ "$(id -u)" = 0 ] || lacking "root (the tests enter the pod's namespaces)"
provide podman=podman runc=runc conmon=conmon /usr/bin/catatonit=catatonit /bin/busybox=busybox-static ||
    lacking "packages for the pod tier"
! readelf -lW /bin/busybox | grep -q INTERP || install_packages busybox-static || lacking "busybox-static"
mapfile -t offline < <([ -z "$OFFLINE" ] || echo --offline)
export CHAOS_TARGET=$TARGET_DIR
cargo test --locked "${offline[@]}" --test pod -- --test-threads=1 "$@"
