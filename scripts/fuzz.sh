#!/usr/bin/env bash
# Run each fuzz test for FUZZTIME (30s).
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  dir=$(dirname "$file")
  grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | awk '{print $2}' | while read -r name; do
    echo "== $dir $name"
    go test -tags 'netgo osusergo seccomp' -run '^$' -fuzz "^$name\$" -fuzztime "${FUZZTIME:-30s}" "$dir"
  done
done
