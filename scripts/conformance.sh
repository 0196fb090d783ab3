#!/usr/bin/env bash
# Run a stage of upstream's conformance tests against a running cluster: KUBECONFIG (default /etc/skiff/skiff.yaml), STAGE (1), and
# CONFORMANCE_KIT, the folder with the kit's run.sh, whose images must have been imported on every node (skiff image import *.tar).
set -euo pipefail
cd "$(dirname "$0")/.."
kit=${CONFORMANCE_KIT:-../shared/conformance}
[ -x "$kit/run.sh" ] || { echo "no conformance kit in $kit: set CONFORMANCE_KIT" >&2; exit 1; }
exec "$kit/run.sh" -k "${KUBECONFIG:-/etc/skiff/skiff.yaml}" -f "$kit/stages/stage${STAGE:-1}.txt"
