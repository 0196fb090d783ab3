#!/bin/sh
# Remove skiff from this machine: pods, kernel state, files and data. --keep-data keeps the cluster's data and the configuration.
set -eu

bin_dir=/usr/local/bin
config_dir=/etc/skiff
keep_data=
case "${1:-}" in
'') ;;
--keep-data) keep_data=1 ;;
*) echo "usage: skiff-uninstall.sh [--keep-data]" >&2; exit 2 ;;
esac

say() { echo "skiff-uninstall: $*"; }
die() { echo "skiff-uninstall: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "needs root"

# setting KEY DEFAULT: a directory from the configuration file, which may name others than the usual ones.
setting() {
	value=$(sed -n "s/^$1:[[:space:]]*[\"']\{0,1\}\([^\"'#]*[^\"'# ]\).*/\1/p" "$config_dir/config.yaml" 2>/dev/null | tail -n 1)
	echo "${value:-$2}"
}
data_dir=$(setting data-dir /var/lib/skiff)
run_dir=$(setting run-dir /run/skiff)
log_dir=$(setting log-dir /var/log)
for dir in "$data_dir" "$run_dir" "$log_dir"; do
	case $dir in /*/*) ;; *) die "refusing to remove things below \"$dir\", from $config_dir/config.yaml" ;; esac
done

if [ -d /run/systemd/system ]; then
	systemctl disable --quiet --now skiff.service 2>/dev/null || true
elif command -v rc-service >/dev/null; then
	rc-service --ifexists skiff stop || true
	rc-update -q delete skiff default 2>/dev/null || true
fi

if [ -x "$bin_dir/skiff" ]; then
	say "ending the pods"
	"$bin_dir/skiff" cleanup || die "skiff cleanup failed; nothing was deleted. Run this again when the cause is gone"
fi
# What is still mounted may be somebody's data: never delete through it.
for dir in "$data_dir" "$run_dir"; do
	left=$(awk -v d="$dir/" 'index($2, d) == 1 {print $2}' /proc/mounts)
	[ -z "$left" ] || die "still mounted, so nothing was deleted: $left"
done

rm -f /etc/systemd/system/skiff.service /etc/init.d/skiff
[ ! -d /run/systemd/system ] || { systemctl daemon-reload; systemctl reset-failed skiff.service 2>/dev/null || true; }

if [ -z "$keep_data" ]; then
	# Log directories end in _<uid of the pod>; those of another kubelet stay.
	for dir in "$log_dir"/pods/*; do
		[ ! -d "$data_dir/agent/pods/${dir##*_}" ] || rm -rf "$dir"
	done
	for link in "$log_dir"/containers/*; do
		[ ! -L "$link" ] || [ -e "$link" ] || rm -f "$link"
	done
	rmdir "$log_dir/pods" "$log_dir/containers" 2>/dev/null || true
	rm -rf "$data_dir" "$config_dir" /var/log/skiff.log
fi
rm -rf "$run_dir"
[ "$(readlink "$bin_dir/kubectl" 2>/dev/null)" != skiff ] || rm -f "$bin_dir/kubectl"
rm -f "$bin_dir/skiff" "$bin_dir/skiff-uninstall.sh"
say "skiff is gone${keep_data:+; $data_dir and $config_dir stay}"
