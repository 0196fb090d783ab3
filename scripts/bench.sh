#!/usr/bin/env bash
# Measure what docs/performance.md reports: scripts/bench.sh [SECTION...]; without arguments all of them, about 10 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "the benchmark needs root: containers and namespaces are the kernel's" >&2; exit 1; }
dir=$(mktemp -d /tmp/skiff-bench-XXXXXX)
trap 'rm -rf "$dir"' EXIT
go build -o "$dir/bench" ./scripts/bench
gcc -Os -static -o "$dir/pause" scripts/bench/workload/pause.c
go run ./scripts/mkimage -o "$dir/pause.tar" -name bench/pause:v1 -entrypoint /pause "$dir/pause=/pause"
status=0
"$dir/bench" -skiff "${SKIFF:-$PWD/bin/skiff}" -image "$dir/pause.tar" "$@" || status=$?
exit $status
