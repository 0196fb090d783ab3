#!/usr/bin/env bash
# Install the Debian packages that are missing. Elsewhere, say which programs are needed.
set -euo pipefail
packages=()
need() { command -v "$1" >/dev/null || packages+=("$2"); }
need gcc gcc
need pkg-config pkg-config
need ip iproute2
need nsenter util-linux
need iptables iptables
need curl curl
need busybox busybox-static
[ -e /usr/include/seccomp.h ] || packages+=(libseccomp-dev)
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
[ ${#packages[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "please install: ${packages[*]} (names of Debian packages)" >&2
  exit 1
fi
[ "$(id -u)" = 0 ] || { echo "please run as root, or install: ${packages[*]}" >&2; exit 1; }
echo "installing ${packages[*]}"
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${packages[@]}" >/dev/null
