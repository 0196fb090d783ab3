#!/bin/sh
# What vm-test.sh does in the virtual machine: one node's life as its administrator lives it. Runs as root in the folder of the files,
# twice: the first boot ends in a power cut, the second begins with what came back.
set -u
cd "$(dirname "$0")" || exit 2
# The console is the machine's only way out; a login prompt that starts there hangs up on whoever had it open before.
systemctl mask --now --quiet serial-getty@ttyS0.service
exec >/dev/ttyS0 2>&1
trap 'echo "VM-EXIT $?"' EXIT
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
failures=0 step=start

now() { cut -d ' ' -f 1 /proc/uptime; }
begin() { step=$1 began=$(now); echo "== $1"; }
ok() { echo "   ok   $1$(awk -v a="$began" -v b="$(now)" 'BEGIN {printf " (%.1f s)", b - a}')"; }
bad() { failures=$((failures + 1)); echo "   FAIL $step: $*"; }
note() { echo "        $*"; }
give_up() {
  bad "$*"
  journalctl -u skiff -n 60 -o cat --no-pager
  kubectl get pods,nodes -o wide
  kubectl get events
  exit 1
}
is() { # is WHAT GOT WANT
  if [ "$2" = "$3" ]; then note "$1: $2"; else bad "$1 is \"$2\"; want \"$3\""; fi
}
within() { # within SECONDS COMMAND…, on a machine of its own; emulated on a busy one everything takes a multiple
  end=$(($(cut -d . -f 1 /proc/uptime) + 5 * $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(cut -d . -f 1 /proc/uptime)" -lt "$end" ] || return 1
    sleep 0.3
  done
}
kubectl() { skiff kubectl "$@"; }
node_ready() { [ "$(kubectl get node vm -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
api_up() { kubectl get --raw /readyz; }
install() { env "$@" sh -s <install.sh; }
# Identity of every container of the machine: its cgroup and first process.
containers() { find /sys/fs/cgroup/skiff -path '*pod*' -name cgroup.procs -exec sh -c 'p=$(head -n 1 "$1"); [ -z "$p" ] || echo "$1 $p"' _ {} \; | sort; }
restarts() { kubectl get pods -l app=web -o 'jsonpath={range .items[*]}{.status.containerStatuses[0].restartCount} {end}'; }
cgroup_of() { find "/sys/fs/cgroup/skiff" -mindepth 1 -type d -path "*pod$(kubectl get pod "$1" -o 'jsonpath={.metadata.uid}')/*" | head -n 1; }
answers() { curl -fsS --max-time 5 "http://$service/"; }
probed() { [ "$(kubectl get pod probed -o 'jsonpath={.status.containerStatuses[0].restartCount}')" -ge 1 ]; }
running() { [ "$(kubectl get deployment web -o 'jsonpath={.status.readyReplicas}')" = 3 ] && answers; }
# What a machine has that skiff could leave behind.
machine() {
  echo "-- links"; ip -o link | awk '{print $2}' | sort
  echo "-- routes"; ip route show table all | grep -v ' dev lo ' | sort
  echo "-- rules"; ip rule | sort
  echo "-- addresses"; ip -o addr | awk '{print $2, $4}' | sort
  echo "-- iptables"; { iptables-save; ip6tables-save; } 2>/dev/null | grep -E '^-A|^:[A-Z]+-' | sed 's/ \[.*//' | sort
  echo "-- ipset, nft"; nft list tables 2>/dev/null | grep -vE 'ip6? (nat|filter|mangle|raw)$'
  echo "-- mounts"; awk '{print $2, $3}' /proc/mounts | grep -vE 'binfmt_misc|^/run/user|credentials' | sort
  echo "-- cgroups"; (cd /sys/fs/cgroup && find . -maxdepth 1 -type d | sort)
  echo "-- namespaces"; ls /run/netns 2>/dev/null
  echo "-- processes"; ps -eo comm= | grep -E 'skiff|keeper|^web$' | sort
  echo "-- files"; find /etc /usr/local /var/lib /var/log /run /opt -xdev 2>/dev/null | grep -iE 'skiff|kubectl|/var/log/(pods|containers)' | sort
}

first_boot() {
begin "the machine"
# Its network, at every boot: a cable to nowhere.
cat >/etc/systemd/system/wire.service <<'UNIT'
[Unit]
DefaultDependencies=no
Before=network-pre.target network.target network-online.target
Wants=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip link add eth0 address 02:00:00:00:00:01 type veth peer name wire0 address 02:00:00:00:00:02; ip addr add 192.168.78.1/24 dev eth0; ip link set eth0 up; ip link set wire0 up; ip route add default via 192.168.78.254'
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now --quiet wire.service
iptables-save >/dev/null # makes what iptables itself makes
sleep 2
machine >before
is "cgroups" "$(stat -f -c %T /sys/fs/cgroup)" cgroup2fs
note "$(uname -r), $(systemctl --version | head -n 1), $(iptables --version)"
ok "ready"

begin "installation refuses what is wrong and changes nothing"
mkdir wrong
cp mirror/sha256sums.txt wrong/
head -c 1000000 mirror/skiff-linux-amd64 >wrong/skiff-linux-amd64
refused() { # refused WORDS VARIABLE=…
  words=$1
  shift
  out=$(install "$@" 2>&1) && bad "was accepted: $*"
  case $out in *"$words"*) note "$out" ;; *) bad "said \"$out\"; want \"$words\"" ;; esac
}
refused "checksum" INSTALL_SKIFF_MIRROR="file://$PWD/wrong"
refused "cannot download" INSTALL_SKIFF_MIRROR="file://$PWD/none"
refused "belongs to no release" A=b
refused "SKIFF_TOKEN" SKIFF_URL=https://10.0.0.1:6443
refused "server or agent" SKIFF_ROLE=king
refused "https://" SKIFF_URL=10.0.0.1 SKIFF_TOKEN=x
refused "does not run" INSTALL_SKIFF_SKIP_DOWNLOAD="$PWD/web.tar"
machine >after
diff before after || bad "something was left behind"
ok "refused"

begin "install an agent without starting it, and remove it"
install SKIFF_URL=https://10.0.0.1:6443 SKIFF_TOKEN="it's" INSTALL_SKIFF_SKIP_DOWNLOAD="$PWD/mirror/skiff-linux-amd64" INSTALL_SKIFF_SKIP_START=true || bad "install"
is "config.yaml" "$(tail -n 2 /etc/skiff/config.yaml | tr '\n' '|') $(stat -c %a /etc/skiff/config.yaml)" "server: 'https://10.0.0.1:6443'|token: 'it''s'| 600"
is "role" "$(grep ROLE /etc/skiff/skiff.env)" SKIFF_ROLE=agent
skiff-uninstall.sh || bad "uninstall"
machine >after
diff before after || bad "something was left behind"
ok "came and went"

begin "install a server from a mirror, as curl | sh does"
install INSTALL_SKIFF_MIRROR="file://$PWD/mirror" SKIFF_TOKEN=secret INSTALL_SKIFF_EXEC="--pod-max-pids 100 --node-label disk=ssd" || give_up "install.sh failed"
ok "installed; the API is up"
within 120 node_ready || give_up "the node is not Ready"
ok "node is Ready"
is "unit" "$(systemctl is-active skiff) $(systemctl is-enabled skiff)" "active enabled"
is "kubectl" "$(readlink /usr/local/bin/kubectl)" skiff
is "label" "$(command kubectl get node vm -o 'jsonpath={.metadata.labels.disk}')" ssd
is "token" "$(grep token /etc/skiff/config.yaml)" "token: 'secret'"
case $(skiff token) in *secret*) bad "the agents' token tells the server's secret" ;; ?*) ;; *) bad "no token" ;; esac

begin "run pods"
skiff image import web.tar || give_up "import"
kubectl apply -f web.yaml -f vm-limits.yaml || give_up "apply"
kubectl rollout status deployment/web --timeout=900s || give_up "rollout"
ok "3 replicas are ready"
service=$(kubectl get service web -o 'jsonpath={.spec.clusterIP}')
within 20 answers || bad "no answer from the Service"
note "the Service answers: $(answers)"
pod=$(kubectl get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
is "limits inside a container" "$(kubectl exec limits -- /bin/cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max | tr '\n' ' ')" "67108864 50000 100000 "
case $(kubectl logs "$pod") in *"is listening"*) note "logs" ;; *) bad "logs" ;; esac
is "exec" "$(kubectl exec "$pod" -- /bin/sh -c 'echo $((6*7))')" 42
is "DNS in a pod" "$(kubectl exec "$pod" -- /bin/busybox nslookup web.default.svc.cluster.local 2>&1 | grep -c "$service")" 1
is "from pod to Service by name" "$(kubectl exec "$pod" -- /bin/busybox wget -q -O - http://web/ | cut -d ' ' -f 1)" v1
ok "logs, exec, DNS"

begin "cgroup v2"
kubectl wait --for=condition=Ready pod/limits pod/guaranteed --timeout=600s >/dev/null || give_up "pods with limits"
c=$(cgroup_of limits) p=$(dirname "$(cgroup_of limits)")
note "$c"
is "memory.max" "$(cat "$c/memory.max")" 67108864
is "memory.swap.max" "$(cat "$c/memory.swap.max" 2>/dev/null || echo 0)" 0
is "cpu.max" "$(cat "$c/cpu.max")" "50000 100000"
note "cpu.weight: $(cat "$c/cpu.weight") for 200m"
is "pids.max of the pod" "$(cat "$p/pids.max")" 100
is "memory.max of the pod" "$(cat "$p/memory.max")" 67108864
is "cpu.max of the pod" "$(cat "$p/cpu.max")" "50000 100000"
g=$(cgroup_of guaranteed)
is "cpu.max, guaranteed" "$(cat "$g/cpu.max")" "10000 100000"
[ "$(cat "$c/cpu.weight")" -gt "$(cat "$g/cpu.weight")" ] || bad "200m weighs no more than 100m: $(cat "$c/cpu.weight") $(cat "$g/cpu.weight")"
is "oom_score_adj, guaranteed" "$(cat "/proc/$(head -n 1 "$g/cgroup.procs")/oom_score_adj")" -997
score=$(cat "/proc/$(head -n 1 "$c/cgroup.procs")/oom_score_adj")
{ [ "$score" -gt 2 ] && [ "$score" -lt 1000 ]; } || bad "oom_score_adj, burstable: $score"
is "descriptors of a container" "$(awk '/open files/ {print $4, $5}' "/proc/$(head -n 1 "$c/cgroup.procs")/limits")" "1048576 1048576"
for controller in cpu memory pids; do
  grep -qw $controller /sys/fs/cgroup/skiff/cgroup.subtree_control || bad "$controller is not enabled below /skiff"
done
is "processes beside the daemon in its unit" "$(grep -vc "^$(systemctl show -p MainPID --value skiff)$" /sys/fs/cgroup/system.slice/skiff.service/cgroup.procs)" 0
kubectl wait --for='jsonpath={.status.phase}'=Failed pod/hungry --timeout=600s >/dev/null || bad "the pod over its limit goes on"
is "pod over its limit" "$(kubectl get pod hungry -o 'jsonpath={.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}')" "OOMKilled 137"
within 90 probed || bad "the pod whose liveness probe fails is not restarted: $(kubectl get pod probed -o 'jsonpath={.status.containerStatuses[0]}')"
kubectl events --for pod/probed | grep -q Unhealthy || bad "no event of the probe"
kubectl delete pod probed --wait=true --timeout=300s >/dev/null || bad "delete"
ok "limits, out of memory, probes"

begin "systemctl restart"
containers >containers.before
note "$(wc -l <containers.before) containers"
systemctl restart skiff || give_up "restart"
ok "the API is up again"
within 90 node_ready || give_up "the node is not Ready"
sleep 3
containers | diff containers.before - && ok "every container is the same process"
is "restart counts" "$(restarts)" "0 0 0 "
within 20 answers || bad "no answer from the Service"

begin "kill -9 of the daemon"
old=$(systemctl show -p MainPID --value skiff)
kill -9 "$old"
answers >/dev/null || bad "the Service does not answer while the daemon is away"
back() { [ "$(systemctl show -p MainPID --value skiff)" != "$old" ] && [ "$(systemctl is-active skiff)" = active ] && api_up; }
within 120 back || give_up "systemd did not bring it back"
ok "systemd brought it back"
within 60 node_ready || give_up "the node is not Ready"
sleep 3
containers | diff containers.before - && ok "every container is the same process"
is "restart counts" "$(restarts)" "0 0 0 "

begin "install again: nothing to do; a new version: replaced under running pods"
old=$(systemctl show -p MainPID --value skiff)
install INSTALL_SKIFF_MIRROR="file://$PWD/mirror" || bad "install.sh"
is "daemon" "$(systemctl show -p MainPID --value skiff)" "$old"
cp mirror/skiff-linux-amd64 new && echo >>new
install INSTALL_SKIFF_SKIP_DOWNLOAD="$PWD/new" || give_up "upgrade"
[ "$(systemctl show -p MainPID --value skiff)" != "$old" ] || bad "the daemon was not restarted"
cmp -s new /usr/local/bin/skiff || bad "not replaced"
grep -q -- '--pod-max-pids 100' /etc/skiff/skiff.env || bad "the upgrade lost the flags: $(cat /etc/skiff/skiff.env)"
within 60 node_ready || give_up "the node is not Ready"
containers | diff containers.before - && ok "upgraded; every container is the same process"
is "exec into a container of the old version" "$(kubectl exec "$pod" -- /bin/sh -c 'echo $((6*7))')" 42
kubectl delete pod limits guaranteed hungry --wait=true --timeout=600s >/dev/null || bad "delete pods of the old version"
ok "pods of the old version can be deleted"

begin "stop: pods stay, with their limits"
systemctl stop skiff
systemctl daemon-reload
sleep 2
is "processes of skiff" "$(pgrep -cf 'skiff server')" 0
answers >/dev/null && ok "the Service answers without a daemon"
c=$(find /sys/fs/cgroup/skiff -mindepth 1 -path '*pod*' -name memory.max -exec grep -l 67108864 {} \; | wc -l)
[ "$c" -ge 3 ] || bad "limits are gone: $c"
note "controllers: $(cat /sys/fs/cgroup/cgroup.subtree_control)"

begin "start again, and write until the power is cut"
systemctl start skiff || give_up "start"
within 60 node_ready || give_up "the node is not Ready"
kubectl rollout status deployment/web --timeout=600s >/dev/null || give_up "rollout"
containers | diff containers.before - >/dev/null || note "$(containers | wc -l) containers"
sync
# Each number is on the disk of this script before the next is written to the API.
n=0
while [ $n -lt 15 ]; do
  n=$((n + 1))
  kubectl create configmap "written-$n" --from-literal=n=$n >/dev/null || bad "write $n"
  echo $n >acknowledged
  sync acknowledged
done
ok "$n writes were acknowledged"
echo "VM-CUT $failures"
sleep 1
echo b >/proc/sysrq-trigger
sleep 60
}

second_boot() {
begin "after the power cut"
within 240 api_up || give_up "the API is not up"
ok "the API is up; the machine for $(now | cut -d . -f 1) s"
is "unit" "$(systemctl is-active skiff) $(systemctl is-enabled skiff)" "active enabled"
within 120 node_ready || give_up "the node is not Ready"
ok "node is Ready"
is "node" "$(kubectl get nodes --no-headers | awk '{print $1, $2}')" "vm Ready"
n=$(cat acknowledged)
is "acknowledged writes" "$(kubectl get configmaps -o name | grep -c '^configmap/written-')" "$n"
service=$(kubectl get service web -o 'jsonpath={.spec.clusterIP}')
within 240 running || give_up "the pods do not run again"
ok "3 replicas run and the Service answers"
note "restart counts: $(restarts)"
pod=$(kubectl get pods -l app=web -o 'jsonpath={.items[0].metadata.name}')
is "exec" "$(kubectl exec "$pod" -- /bin/sh -c 'echo $((6*7))')" 42
kubectl logs "$pod" --previous >/dev/null || bad "logs of the container before the power cut"
kubectl delete configmap --all >/dev/null || bad "delete"

begin "uninstall"
skiff-uninstall.sh || bad "skiff-uninstall.sh failed"
ok "uninstalled"
sleep 1
machine >after
if diff before after; then ok "nothing is left"; else bad "something was left behind"; fi
is "unit" "$(systemctl is-active skiff) $(systemctl is-failed skiff)" "inactive inactive"

}

if [ -e acknowledged ]; then second_boot; else first_boot; fi
echo "== $failures failed checks; the machine was up for $(now | cut -d . -f 1) s"
[ "$failures" = 0 ]
