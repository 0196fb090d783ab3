#!/usr/bin/env bash
# Build dist/skiff-linux-amd64 and -arm64, static, with checksums. The other architecture's compiler and libraries are Debian's.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(dpkg --print-architecture)
for arch in amd64 arm64; do
  triple=x86_64-linux-gnu; [ $arch = arm64 ] && triple=aarch64-linux-gnu
  if [ "$arch" != "$host" ]; then
    dpkg --print-foreign-architectures | grep -qx $arch || { dpkg --add-architecture $arch; apt-get -qq update; }
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "gcc-${triple//_/-}" "libc6-dev:$arch" "libseccomp-dev:$arch" >/dev/null
  fi
  PKG_CONFIG_LIBDIR=/usr/lib/$triple/pkgconfig:/usr/share/pkgconfig make -s release-binary ARCH=$arch
done
cp packaging/install.sh packaging/skiff.service dist/
(cd dist && sha256sum skiff-linux-* > sha256sums.txt && cat sha256sums.txt)
