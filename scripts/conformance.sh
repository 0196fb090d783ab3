#!/usr/bin/env bash
# Run upstream's conformance tests: a stage of the kit ($CONFORMANCE_KIT, a folder with run.sh and stages/; default ../shared/conformance)
# against two nodes that this starts and removes, or against a running cluster if KUBECONFIG is set, which must have the kit's images.
#   STAGE (1)   FOCUS (what the kit's run.sh -f takes, in place of a stage)   NODES (2)   PROCS (2)   OUT (folder of the report; default a temporary one)   further arguments go to the kit's run.sh
set -euo pipefail
cd "$(dirname "$0")/.."
kit=${CONFORMANCE_KIT:-../shared/conformance}
[ -x "$kit/run.sh" ] || { echo "conformance: there is no kit in $kit: set CONFORMANCE_KIT" >&2; exit 2; }
out=${OUT:-$(mktemp -d /tmp/skiff-conformance-XXXXXX)}
run=("$kit/run.sh" -f "${FOCUS:-$kit/stages/stage${STAGE:-1}.txt}" -o "$out" -p "${PROCS:-2}" "$@")
[ -z "${KUBECONFIG:-}" ] || exec "${run[@]}" -k "$KUBECONFIG"
home=${CONFORMANCE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/k8s-conformance}
ls "$home"/images/*.tar >/dev/null 2>&1 || { echo "conformance: no images in $home/images; the kit's build.sh makes them" >&2; exit 2; }
go build -o "$out/cluster" ./scripts/cluster
DUMP=${DUMP:-false} "$out/cluster" -skiff "${SKIFF:-bin/skiff}" -nodes "${NODES:-2}" -images "$home/images/*.tar" -- "${run[@]}"
