#!/usr/bin/env bash
# Every test of the project: lint, unit and scenario tests, the architecture test, end-to-end tests with real containers.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/lint.sh
tags='netgo osusergo seccomp'
go test -tags "$tags" -p 2 -timeout 10m $(go list -tags "$tags" ./... | grep -v '/scripts/e2e$')
# A whole cluster has the machine for itself.
go test -tags "$tags" -timeout 10m ./scripts/e2e/
