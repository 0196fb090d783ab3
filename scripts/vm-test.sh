#!/usr/bin/env bash
# Install, run, upgrade, lose the power of and remove skiff in a real Debian with systemd and cgroup v2, in a virtual machine. Its disk and
# kernel are the kit's ($VM_KIT/vm.sh makes them; default ../shared/vm), what happens in it is vm-job.sh. Emulated: allow 10 minutes.
#   vm-test.sh           the node's life
#   vm-test.sh runtime   the runtime's own tests on cgroup v2
set -euo pipefail
cd "$(dirname "$0")/.."
kit=${VM_KIT:-../shared/vm}
[ ! -d "$kit" ] || kit=$kit/vm.sh
home=${VM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/debian-vm}
if ! [ -e "$home/disk.img" ]; then
  [ -f "$kit" ] || { echo "vm-test: there is no $kit; VM_KIT names the folder of vm.sh" >&2; exit 2; }
  "$kit" build
fi
work=$(mktemp -d /tmp/skiff-vm-XXXXXX)
trap 'rm -rf "$work"' EXIT
qemu-img create -q -f qcow2 -b "$home/disk.img" -F raw "$work/disk.qcow2"

boot() { # boot SCRIPT FILE…: run SCRIPT beside the FILEs in the machine, whose disk is the one that the last boot left
  rm -rf "$work/job" && mkdir "$work/job"
  cp -r "$@" "$work/job/"
  basename "$1" >"$work/job/name"
  tar -cf "$work/job.tar" -C "$work/job" .
  truncate -s %1M "$work/job.tar"
  # Not -nographic: without a monitor on its console, the machine's output is all there is on it.
  timeout "${VM_TIMEOUT:-3600}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "${VM_CPUS:-2}" -m "${VM_MEM:-3072}" -display none -serial stdio -no-reboot \
    -kernel "$home/vmlinuz" -initrd "$home/initrd.gz" -append "console=ttyS0 quiet panic=-1 systemd.show_status=false systemd.mask=serial-getty@ttyS0.service" -nic none \
    -drive "file=$work/disk.qcow2,if=virtio" -drive "file=$work/job.tar,format=raw,if=virtio,readonly=on" </dev/null | sed -u 's/\r$//' | tee "$work/log" || true
}
said() { sed -n "s/.*$1 \([0-9]*\).*/\1/p" "$work/log" | tail -n 1; }
finish() { # the exit status that the machine reported
  code=$(said VM-EXIT)
  [ -n "$code" ] || { echo "vm-test: the machine did not finish in ${VM_TIMEOUT:-3600} s" >&2; exit 124; }
  [ "$code" = 0 ] || exit "$code"
}

if [ "${1:-}" = runtime ]; then
  mkdir "$work/tests"
  for package in container keeper snapshot image logs stats rootpath; do
    go test -c -tags 'netgo osusergo seccomp' -ldflags '-linkmode external -extldflags "-static"' -o "$work/tests/$package" "./runtime/$package"
    [ ! -d "runtime/$package/testdata" ] || cp -r "runtime/$package/testdata" "$work/tests/"
  done
  boot scripts/vm-runtime.sh "$work/tests" /bin/busybox
  finish
  exit
fi

[ -x bin/skiff ] || { echo "vm-test: there is no bin/skiff; run make bin/skiff" >&2; exit 2; }
mkdir "$work/mirror"
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=v1' -o "$work/web" ./examples/web
go run ./scripts/mkimage -o "$work/web.tar" -name example/web:v1 -entrypoint /web -links /bin/sh=busybox,/bin/tail=busybox,/bin/cat=busybox \
  "$work/web=/web" "/bin/busybox=/bin/busybox"
packaging/bundle.sh >"$work/install.sh"
cp bin/skiff "$work/mirror/skiff-linux-amd64"
(cd "$work/mirror" && sha256sum skiff-linux-amd64 >sha256sums.txt)

boot scripts/vm-job.sh "$work/install.sh" "$work/web.tar" examples/web.yaml scripts/vm-limits.yaml "$work/mirror"
failed=$(said VM-CUT)
[ -n "$failed" ] || { echo "vm-test: the machine did not get to the power cut" >&2; exit 1; }
boot scripts/vm-job.sh
finish
[ "$failed" = 0 ] || { echo "vm-test: $failed checks failed before the power cut" >&2; exit 1; }
