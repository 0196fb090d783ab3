#!/usr/bin/env bash
# Every test of the project: lint, unit and scenario tests, the architecture test, end-to-end tests with real containers.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/lint.sh
go test -tags 'netgo osusergo seccomp' -timeout 10m ./...
