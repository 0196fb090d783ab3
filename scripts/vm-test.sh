#!/usr/bin/env bash
# Install, run, upgrade and remove skiff in a real Debian with systemd and cgroup v2, in a virtual machine. The machine is the kit's
# ($VM_KIT/vm.sh, or the script that $VM_KIT names; default ../shared/vm), what happens in it is vm-job.sh. Emulated: allow 10 minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
kit=${VM_KIT:-../shared/vm}
[ ! -d "$kit" ] || kit=$kit/vm.sh
[ -f "$kit" ] || { echo "vm-test: there is no $kit; VM_KIT names the folder of vm.sh" >&2; exit 2; }
[ -x bin/skiff ] || { echo "vm-test: there is no bin/skiff; run make bin/skiff" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/mirror"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=v1' -o "$work/web" ./examples/web
go run ./scripts/mkimage -o "$work/web.tar" -name example/web:v1 -entrypoint /web -links /bin/sh=busybox,/bin/tail=busybox,/bin/cat=busybox \
  "$work/web=/web" "/bin/busybox=/bin/busybox"
packaging/bundle.sh >"$work/install.sh"
cp examples/web.yaml scripts/vm-limits.yaml "$work/"
ln bin/skiff "$work/mirror/skiff-linux-amd64" 2>/dev/null || cp bin/skiff "$work/mirror/skiff-linux-amd64"
(cd "$work/mirror" && sha256sum skiff-linux-amd64 >sha256sums.txt)

export VM_MEM=${VM_MEM:-3072} VM_TIMEOUT=${VM_TIMEOUT:-1500}
"$kit" run "${VM_JOB:-scripts/vm-job.sh}" "$work/install.sh" "$work/web.tar" "$work/web.yaml" "$work/vm-limits.yaml" "$work/mirror" | sed -u 's/\r$//'
