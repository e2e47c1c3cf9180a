#!/usr/bin/env bash
# TL;DR: ./build.sh test pod [-- FILTER...]   (CHAOS_AGENT names the product)
#
# Runs the pod tier: finds or installs podman and what it needs, then the libtest program. The tests keep their
# images and containers under target/pod and use no network; podman's own store and a Docker daemon that runs here are
# not touched.
# Exit code: 0 all passed, 1 failed, 75 a part is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=tests/parts.sh
. tests/parts.sh

[ "$(id -u)" = 0 ] || lacking "root (the tests enter the pod's namespaces)"
provide podman=podman runc=runc conmon=conmon catatonit=catatonit || lacking "packages for the pod tier"
# Docker and Compose for compose.yaml alone. Its daemon is the test's own and sees no network of this machine.
provide dockerd=docker.io docker=docker.io docker-compose=docker-compose ip=iproute2 || lacking "docker.io and docker-compose"
provide_busybox || lacking "busybox-static"
mapfile -t offline < <([ -z "$OFFLINE" ] || echo --offline)
export CHAOS_TARGET=$TARGET_DIR
cargo test --locked "${offline[@]}" --test pod -- --test-threads=1 "$@"
