#!/bin/sh
# Install skiff, or upgrade it: run it again. Pods keep running while the daemon is replaced.
#
#   a server:  curl -sfL https://…/install.sh | sh -
#   an agent:  curl -sfL https://…/install.sh | SKIFF_URL=https://SERVER:6443 SKIFF_TOKEN=… sh -    (token: `skiff token` on the server)
#
# Variables:
#   SKIFF_URL                    server to join; makes this machine an agent
#   SKIFF_TOKEN                  token that joins; on a server: the secret of a new cluster (default: made at random)
#   SKIFF_ROLE                   server or agent (default: agent with SKIFF_URL, else server)
#   INSTALL_SKIFF_EXEC           more flags for the daemon, e.g. "--node-label disk=ssd"; may begin with the role
#   INSTALL_SKIFF_BIN_DIR        where the executable goes (default /usr/local/bin)
#   INSTALL_SKIFF_SKIP_DOWNLOAD  path of a skiff executable to install instead of downloading; "true": the one that is installed
#   INSTALL_SKIFF_MIRROR         URL of a folder with skiff-linux-ARCH and sha256sums.txt (default: the release of this script)
#   INSTALL_SKIFF_SKIP_ENABLE    true: do not start at boot
#   INSTALL_SKIFF_SKIP_START     true: do not start now
# It writes the executable, a kubectl link beside it unless there is a kubectl, skiff-uninstall.sh, the service (systemd or OpenRC),
# /etc/skiff/skiff.env, and /etc/skiff/config.yaml unless there is one.
set -eu

release_url= # filled in by packaging/bundle.sh
here=$(dirname "$0")
config_dir=/etc/skiff
url=${SKIFF_URL:-} token=${SKIFF_TOKEN:-} role=${SKIFF_ROLE:-} args=${INSTALL_SKIFF_EXEC:-}
bin_dir=${INSTALL_SKIFF_BIN_DIR:-/usr/local/bin}
mirror=${INSTALL_SKIFF_MIRROR:-$release_url}
work=

say() { echo "skiff: $*"; }
warn() { echo "skiff: warning: $*" >&2; }
die() { echo "skiff: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# part NAME: print a file that belongs to this script.
part() { cat "$here/$1"; } # replaced by packaging/bundle.sh

# settle what the variables mean; nothing is changed on the machine before all of this is clear.
settle() {
	case $args in
	server | agent) role=${role:-$args} args= ;;
	server\ * | agent\ *) role=${role:-${args%% *}} args=${args#* } ;;
	esac
	role_given=$role
	if [ -z "$role" ]; then
		role=server
		[ -z "$url" ] || role=agent
		[ -z "$url$token" ] || role_given=$role
	fi
	case $role in server | agent) ;; *) die "SKIFF_ROLE is \"$role\"; it can be server or agent" ;; esac
	case $bin_dir in /*) ;; *) die "INSTALL_SKIFF_BIN_DIR must be an absolute path" ;; esac
	case "$args$url$token" in *"
"*) die "a variable has a line break in it" ;; esac
	case $url in '' | https://*) ;; *) die "SKIFF_URL is \"$url\"; expected https://HOST:6443" ;; esac
	if [ "$role" = server ] && [ -n "$url" ]; then die "SKIFF_URL is for agents: a server that joins a server is not supported yet"; fi
	if [ -n "$url" ] && [ -z "$token" ] && [ ! -e "$config_dir/config.yaml" ]; then
		die "SKIFF_URL needs SKIFF_TOKEN: run \`skiff token\` on the server"
	fi
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) die "there is no skiff for $(uname -m); it is built for amd64 and arm64" ;;
	esac
}

check_machine() {
	[ "$(uname -s)" = Linux ] || die "skiff needs Linux"
	[ "$(id -u)" = 0 ] || die "needs root: containers, namespaces and network rules are the kernel's. Try: … | sudo sh -"
	if [ -d /run/systemd/system ]; then
		init=systemd
	elif have openrc-run || [ -x /sbin/openrc-run ]; then
		init=openrc
	else
		die "found neither systemd nor OpenRC. Start $bin_dir/skiff $role by other means"
	fi
	check_cgroups
	grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || grep -qw overlay /proc/filesystems ||
		die "the kernel has no overlay filesystem (module overlay), which images need"
	if ! have iptables || ! have iptables-save || ! have iptables-restore; then
		die "iptables is missing, which Services and the pod network need. Install it: $(how_to_install iptables)"
	fi
	iptables -w 5 -t nat -S POSTROUTING >/dev/null 2>&1 || iptables-legacy -w 5 -t nat -S POSTROUTING >/dev/null 2>&1 ||
		die "iptables does not work on this kernel: $(iptables -w 5 -t nat -S POSTROUTING 2>&1 | tail -n 1)"
	if have firewall-cmd && firewall-cmd --state >/dev/null 2>&1; then
		warn "firewalld is on: let in 6443/tcp (API), 10250/tcp (kubelet) and 8472/udp (pod network), and trust 10.42.0.0/16 and 10.43.0.0/16"
	elif have ufw && ufw status 2>/dev/null | grep -q "Status: active"; then
		warn "ufw is on: let in 6443/tcp (API), 10250/tcp (kubelet) and 8472/udp (pod network), and allow from 10.42.0.0/16 and 10.43.0.0/16"
	fi
}

check_cgroups() {
	if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
		for controller in cpu memory pids; do
			grep -qw $controller /sys/fs/cgroup/cgroup.controllers || no_controller $controller
		done
	elif [ -d /sys/fs/cgroup/memory ] || [ -d /sys/fs/cgroup/cpu ]; then
		for controller in cpu memory pids; do
			[ -d /sys/fs/cgroup/$controller ] || no_controller $controller
		done
	else
		die "no cgroups are mounted at /sys/fs/cgroup${init:+ ($init should do this: on Alpine, rc-update add cgroups)}"
	fi
}

no_controller() {
	die "the $1 controller of cgroups is off, so containers could not be limited. Add \"cgroup_enable=$1\" to the kernel's command line (on a Raspberry Pi: the file cmdline.txt in /boot/firmware or /boot) and reboot"
}

how_to_install() {
	if have apt-get; then echo "apt-get install $1"
	elif have dnf; then echo "dnf install $1"
	elif have yum; then echo "yum install $1"
	elif have zypper; then echo "zypper install $1"
	elif have apk; then echo "apk add $1"
	elif have pacman; then echo "pacman -S $1"
	else echo "the package $1 of your distribution"; fi
}

fetch() { # fetch URL FILE
	if have curl; then
		curl -fsSL --retry 3 -o "$2" "$1"
	elif have wget; then
		wget -q -O "$2" "$1"
	else
		die "neither curl nor wget is here to download with"
	fi || die "cannot download $1"
}

# place FILE NAME MODE: into the executables' folder by a rename, so that what runs from there goes on running.
place() {
	cp "$1" "$bin_dir/.$2.new"
	chmod "$3" "$bin_dir/.$2.new"
	mv -f "$bin_dir/.$2.new" "$bin_dir/$2"
}

install_executable() {
	mkdir -p "$bin_dir"
	work=$(mktemp -d "$bin_dir/.skiff-install.XXXXXX") || die "cannot write to $bin_dir; choose another folder with INSTALL_SKIFF_BIN_DIR"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 1' HUP INT TERM
	new=${INSTALL_SKIFF_SKIP_DOWNLOAD:-}
	case $new in
	'' | false) download ;;
	true)
		new=$bin_dir/skiff
		[ -x "$new" ] || die "INSTALL_SKIFF_SKIP_DOWNLOAD=true, and there is no $new"
		;;
	*) [ -f "$new" ] || die "INSTALL_SKIFF_SKIP_DOWNLOAD: there is no file $new" ;;
	esac
	if cmp -s "$new" "$bin_dir/skiff"; then
		say "$bin_dir/skiff is up to date"
		return
	fi
	# Run it once before it replaces one that works.
	cp "$new" "$work/skiff"
	chmod 755 "$work/skiff"
	version=$("$work/skiff" version 2>&1 | head -n 1) || version=
	case $version in "skiff "*) ;; *) die "$new does not run on this machine: ${version:-no output}" ;; esac
	mv -f "$work/skiff" "$bin_dir/skiff"
	! have restorecon || restorecon "$bin_dir/skiff" 2>/dev/null || true
	changed=1
	say "installed $bin_dir/skiff: $version"
}

download() {
	[ -n "$mirror" ] || die "this script belongs to no release: set INSTALL_SKIFF_MIRROR, or INSTALL_SKIFF_SKIP_DOWNLOAD to an executable"
	name=skiff-linux-$arch
	fetch "${mirror%/}/sha256sums.txt" "$work/sums"
	want=$(awk -v n="$name" '$2 == n || $2 == "*" n {print $1}' "$work/sums")
	[ "${#want}" = 64 ] || die "${mirror%/}/sha256sums.txt has no checksum of $name"
	if [ -x "$bin_dir/skiff" ] && [ "$(checksum "$bin_dir/skiff")" = "$want" ]; then
		new=$bin_dir/skiff
		return
	fi
	say "downloading ${mirror%/}/$name"
	new=$work/download
	fetch "${mirror%/}/$name" "$new"
	got=$(checksum "$new")
	[ "$got" = "$want" ] || die "the checksum of $name is $got; expected $want. Nothing was changed"
}

checksum() { sha256sum "$1" | cut -d ' ' -f 1; }

# replace FILE MODE: write standard input to a file unless it is there already; remember that something changed.
replace() {
	cat >"$work/file"
	! cmp -s "$work/file" "$1" || return 0
	chmod "$2" "$work/file"
	cp -p "$work/file" "$1.new"
	mv -f "$1.new" "$1"
	changed=1
}

quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/''/g")"; } # a string in YAML

write_settings() {
	mkdir -p "$config_dir"
	chmod 700 "$config_dir"
	if [ -n "$url$token" ] && [ -e "$config_dir/config.yaml" ]; then
		say "$config_dir/config.yaml stays as it is: SKIFF_URL and SKIFF_TOKEN are not written into it"
	elif [ -n "$url$token" ]; then
		(
			umask 077
			echo "# Flags of \`skiff $role\` as keys: see skiff $role --help"
			[ -z "$url" ] || echo "server: $(quoted "$url")"
			[ -z "$token" ] || echo "token: $(quoted "$token")"
		) | (umask 077 && replace "$config_dir/config.yaml" 600)
	fi
	env=$config_dir/skiff.env
	touch "$env"
	chmod 600 "$env"
	if [ -n "$role_given" ] || ! grep -q '^SKIFF_ROLE=' "$env"; then set_env SKIFF_ROLE "$role"; fi
	if [ -n "$args" ] || ! grep -q '^SKIFF_ARGS=' "$env"; then set_env SKIFF_ARGS "$args"; fi
	role=$(sed -n 's/^SKIFF_ROLE=//p' "$env")
}

set_env() { # set_env NAME VALUE: one line of skiff.env; the others are the user's
	case $2 in *[\"\\\`\$]*) die "INSTALL_SKIFF_EXEC has one of \" \\ \` \$ in it: write these flags into $config_dir/config.yaml" ;; esac
	value=$2
	case $2 in *' '* | *"'"*) value="\"$2\"" ;; esac
	{
		grep -v "^$1=" "$env" || true
		echo "$1=$value"
	} | replace "$env" 600
}

install_service() {
	part skiff-uninstall.sh | sed "s|^bin_dir=.*|bin_dir=$bin_dir|" >"$work/uninstall"
	place "$work/uninstall" skiff-uninstall.sh 755
	if [ ! -e "$bin_dir/kubectl" ] && ! have kubectl; then ln -s skiff "$bin_dir/kubectl"; fi
	case $init in
	systemd)
		part skiff.service | sed "s|/usr/local/bin/skiff|$bin_dir/skiff|" | replace /etc/systemd/system/skiff.service 644
		systemctl daemon-reload
		[ "${INSTALL_SKIFF_SKIP_ENABLE:-}" = true ] || systemctl enable --quiet skiff.service
		;;
	openrc)
		part skiff.openrc | sed "s|/usr/local/bin/skiff|$bin_dir/skiff|" | replace /etc/init.d/skiff 755
		[ "${INSTALL_SKIFF_SKIP_ENABLE:-}" = true ] || rc-update -q add skiff default
		;;
	esac
}

start() {
	if [ "${INSTALL_SKIFF_SKIP_START:-}" = true ]; then
		say "not started, as asked"
		return
	fi
	case $init in
	systemd)
		if [ -z "$changed" ] && systemctl --quiet is-active skiff.service; then
			say "nothing has changed; the service goes on"
			return
		fi
		say "starting the service"
		systemctl reset-failed skiff.service 2>/dev/null || true
		# Not a plain restart: that waits for ever while a daemon that cannot start is started again and again.
		systemctl --no-block restart skiff.service
		await_systemd
		;;
	openrc)
		if [ -z "$changed" ] && rc-service -q skiff status; then
			say "nothing has changed; the service goes on"
			return
		fi
		say "starting the service"
		rc-service skiff restart || die "the service did not start: see /var/log/skiff.log"
		;;
	esac
}

await_systemd() {
	tries=0
	while :; do
		sleep 1
		tries=$((tries + 1))
		if [ "$(systemctl show -p NRestarts --value skiff.service)" != 0 ]; then
			journalctl -u skiff.service -n 5 -o cat --no-pager >&2 || true
			die "the service does not stay up: see journalctl -u skiff"
		fi
		case $(systemctl show -p ActiveState --value skiff.service) in
		active) [ -n "$(systemctl list-jobs --no-legend skiff.service 2>/dev/null)" ] || return 0 ;;
		esac
		[ "$tries" -lt 180 ] || die "the service is not ready after 3 minutes; it goes on trying: see journalctl -u skiff"
	done
}

farewell() {
	say "the service runs; remove it with $bin_dir/skiff-uninstall.sh"
	if [ "$role" = server ]; then
		say "try: $bin_dir/skiff kubectl get nodes      kubeconfig: $config_dir/skiff.yaml      more nodes: skiff token"
	else
		say "how joining goes: $([ $init = systemd ] && echo "journalctl -u skiff -f" || echo "tail -f /var/log/skiff.log")"
	fi
}

# All in one function that is called on the last line: a script that arrives by half does nothing.
main() {
	changed=
	settle
	check_machine
	install_executable
	write_settings
	install_service
	start
	[ "${INSTALL_SKIFF_SKIP_START:-}" = true ] || farewell
}

main
