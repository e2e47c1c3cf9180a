#!/usr/bin/env bash
# TL;DR: ./build.sh test ecosystem [-- FILTER...]   (CHAOS_AGENT names the product)
#
# Runs the ecosystem tier: finds or fetches Prometheus and the validators, then the libtest program. Nothing is
# installed for good but python3: Prometheus is unpacked under target/ (its package would start a service), the
# validators live in a virtual environment there.
# Exit code: 0 all passed, 1 failed, 75 a part is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=tests/parts.sh
. tests/parts.sh

readonly VALIDATORS=(kubernetes-validate==1.37.0 check-jsonschema==0.39.0 croniter==7.0.0)
readonly FOLDER=$TARGET_DIR/ecosystem

prometheus() {
    have prometheus && have promtool && return
    refresh_packages || true
    unpack prometheus "$FOLDER/prometheus" || return 1
    PATH=$FOLDER/prometheus/usr/bin:$PATH
    promtool --version >/dev/null
}

# Made anew when the wanted versions change.
validators() {
    local venv=$FOLDER/venv
    PATH=$venv/bin:$PATH
    [ "$(cat "$venv/.versions" 2>/dev/null)" != "${VALIDATORS[*]}" ] || return 0
    [ -z "$OFFLINE" ] || return 1
    rm -rf "$venv"
    python3 -m venv "$venv" >/dev/null 2>&1 ||
        { install_packages python3-venv && python3 -m venv "$venv"; } || return 1
    "$venv/bin/pip" -q --disable-pip-version-check install "${VALIDATORS[@]}" || return 1
    echo "${VALIDATORS[*]}" >"$venv/.versions"
}

provide python3=python3 || lacking "python3"
prometheus || lacking "prometheus (apt-get download prometheus, or install it)"
validators || lacking "pip install ${VALIDATORS[*]}"
export PATH
mapfile -t offline < <([ -z "$OFFLINE" ] || echo --offline)
cargo test --locked "${offline[@]}" --test ecosystem -- "$@"
