#!/usr/bin/env bash
# Every test of the project: lint, unit and scenario tests, the architecture test, end-to-end tests with real containers.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/lint.sh
# Lint has vetted everything.
tags='netgo osusergo seccomp'
go test -tags "$tags" -vet off -p 2 -timeout 15m $(go list -tags "$tags" ./... | grep -v '/scripts/e2e$')
# A whole cluster has the machine for itself.
go test -tags "$tags" -vet off -timeout 25m ./scripts/e2e/
