#!/usr/bin/env bash
# Build what a release consists of, in dist/: static executables for amd64 and arm64, install.sh and sha256sums.txt. The other
# architecture's compiler and libraries are Debian's. RELEASE_URL is where the files will lie, for install.sh to download from.
set -euo pipefail
cd "$(dirname "$0")/.."
goal=75000000 # bytes of an executable: docs/performance.md
rm -rf dist

install_cross() { # install_cross ARCH TRIPLE: compiler and libraries for another architecture
  if ! command -v apt-get >/dev/null; then
    echo "please install a C compiler for $2, and its libc and libseccomp with static libraries" >&2
    exit 1
  fi
  dpkg --print-foreign-architectures | grep -qx "$1" || { dpkg --add-architecture "$1"; apt-get -qq update; }
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "gcc-${2//_/-}" "libc6-dev:$1" "libseccomp-dev:$1" >/dev/null
}

check() { # check ARCH: what was built is static, and runs where it can be run
  local file=dist/skiff-linux-$1 runner=()
  if readelf -l "$file" | grep -q INTERP; then
    echo "release: $file is not static" >&2
    exit 1
  fi
  [ "$1" = "$(go env GOHOSTARCH)" ] || case $1 in arm64) runner=(qemu-aarch64-static) ;; amd64) runner=(qemu-x86_64-static) ;; esac
  if [ ${#runner[@]} = 0 ] || command -v "${runner[0]}" >/dev/null; then
    "${runner[@]}" "$file" version | paste -sd ' '
  else
    echo "release: $file was not tried: no ${runner[0]} here (Debian: qemu-user-static)"
  fi
  local size
  size=$(stat -c %s "$file")
  printf 'release: %s: %d.%d MB, %s the goal of %d MB\n' "$file" $((size / 1000000)) $((size / 100000 % 10)) \
    "$([ "$size" -le $goal ] && echo within || echo over)" $((goal / 1000000))
}

# bare_root FILE: as on a musl host, in a root without any C library: a server starts and answers the kubectl inside.
bare_root() {
  local root ns=skiff-release-$$ pid status=0
  root=$(mktemp -d /tmp/skiff-release-XXXXXX)
  mkdir -p "$root"/{bin,dev,etc,proc,tmp}
  cp "$1" "$root/bin/skiff"
  mknod -m 666 "$root/dev/null" c 1 3
  ip netns add "$ns"
  ip -n "$ns" link set lo up
  nsenter --net="/run/netns/$ns" -- chroot "$root" /bin/skiff server --disable-agent --node-name bare --node-ip 127.0.0.1 >"$root/log" 2>&1 &
  pid=$!
  for _ in $(seq 100); do
    sleep 0.2
    [ ! -s "$root/etc/skiff/skiff.yaml" ] || ! nsenter --net="/run/netns/$ns" -- chroot "$root" /bin/skiff kubectl --kubeconfig /etc/skiff/skiff.yaml get namespace default -o name 2>/dev/null || break
  done | grep -q namespace/default || { status=1; echo "release: $1 does not serve in a root without a C library:" >&2; tail "$root/log" >&2; }
  kill "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  ip netns del "$ns"
  rm -rf "$root"
  [ $status = 0 ] && echo "release: $1 serves in a root without a C library"
}

for arch in amd64 arm64; do
  triple=x86_64-linux-gnu
  [ $arch != arm64 ] || triple=aarch64-linux-gnu
  [ "$arch" = "$(go env GOHOSTARCH)" ] || install_cross $arch $triple
  PKG_CONFIG_LIBDIR=/usr/lib/$triple/pkgconfig:/usr/share/pkgconfig make -s release-binary ARCH=$arch
  check $arch
  [ "$arch" != "$(go env GOHOSTARCH)" ] || [ "$(id -u)" != 0 ] || bare_root dist/skiff-linux-$arch
done
make -s shim # this machine's own again
packaging/bundle.sh "${RELEASE_URL:-}" >dist/install.sh
(cd dist && sha256sum skiff-linux-* install.sh >sha256sums.txt && cat sha256sums.txt)
