#!/usr/bin/env bash
# gofmt, vet and staticcheck over the whole project.
set -euo pipefail
cd "$(dirname "$0")/.."
unformatted=$(gofmt -l $(git ls-files '*.go'))
[ -z "$unformatted" ] || { echo "not formatted by gofmt: $unformatted" >&2; exit 1; }
go vet -tags 'netgo osusergo seccomp' ./...
go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 -tags 'netgo,osusergo,seccomp' ./...
echo "lint: ok"
