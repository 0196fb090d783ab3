#!/bin/sh
# Run the runtime's own tests, built by vm-test.sh, on cgroup v2 with systemd. What they print goes to the console after a failure only.
set -u
cd "$(dirname "$0")" || exit 2
systemctl mask --now --quiet serial-getty@ttyS0.service
exec >/dev/ttyS0 2>&1
trap 'echo "VM-EXIT $?"' EXIT
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/var/tmp
install -m 755 busybox /bin/busybox
ip link set lo up
failures=0
cd tests || exit 2
for test in $(find . -maxdepth 1 -type f -perm -u+x | sort); do
  "$test" -test.v -test.timeout 10m >/tmp/out 2>&1
  code=$?
  echo "== $test: exit $code, $(grep -c '^--- PASS' /tmp/out) passed, $(grep -c '^--- SKIP' /tmp/out) skipped, $(grep -c '^--- FAIL' /tmp/out) failed"
  grep -A3 '^--- SKIP' /tmp/out | cut -c 1-200 | head -n 20
  if [ "$code" != 0 ]; then
    failures=$((failures + 1))
    grep -v '^=== \|^--- PASS' /tmp/out | cut -c 1-400 | tail -n 60
  fi
done
[ "$failures" = 0 ]
