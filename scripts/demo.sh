#!/usr/bin/env bash
# The tour: one node in a network namespace and directories of its own, shown step by step; leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "the demo needs root: containers, namespaces and iptables are the kernel's" >&2; exit 1; }

id=skd$(od -An -N3 -tx1 /dev/urandom | tr -d ' ')
dir=$(mktemp -d "/tmp/$id-XXXX")
skiff=${SKIFF:-$PWD/bin/skiff}
dirs=(--data-dir "$dir/lib" --run-dir "$dir/run" --config-dir "$dir/etc")
in_node() { nsenter --net="/run/netns/$id" -- "$@"; }
kubectl() { in_node "$skiff" kubectl --kubeconfig "$dir/etc/skiff.yaml" "$@"; }
now() { date +%s%N; }
summary=()
T0=$(now)
step() { STEP=$1; T=$(now); printf '\n\033[1m== %s\033[0m\n' "$1"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; }
ok() { local ms=$((($(now) - T) / 1000000)); summary+=("$(printf '%7d ms  %s' "$ms" "$STEP")"); printf '   done in %d ms\n' "$ms"; }
fail() { echo "FAILED: $STEP: $*" >&2; tail -n 30 "$dir/skiff.log" >&2; exit 1; }

pid='' load=''
cleanup() {
  status=$?
  [ -z "$load" ] || kill "$load" 2>/dev/null || true
  if [ -n "$pid" ]; then kill -TERM "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; fi
  in_node "$skiff" cleanup "${dirs[@]}" --cgroup-root "$id" || true
  ip netns del "$id" 2>/dev/null || true
  ip netns del "$id-lan" 2>/dev/null || true
  rm -rf "$dir"
  exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start_node() {
  # Not through in_node: $! shall be skiff itself, not a subshell.
  nsenter --net="/run/netns/$id" -- "$skiff" server "${dirs[@]}" --log-dir "$dir/log" --cgroup-root "$id" --node-name demo --node-ip 192.168.78.1 >>"$dir/skiff.log" 2>&1 &
  pid=$!
}
wait_for() { # wait_for SECONDS COMMAND...: until it succeeds
  local end=$(($(now) + $1 * 1000000000)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$(now)" -lt "$end" ] || return 1
    kill -0 "$pid" 2>/dev/null || fail "skiff has ended"
    sleep 0.05
  done
}
# The pods of the Deployment that are to stay: after a rollout the old ones still drain.
live_pods() { kubectl get pods -l app=web -o 'jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}{"\n"}{end}' | awk 'NF == 1 {print $1}'; }
node_ready() { [ "$(kubectl get node demo -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

step "Make the images (no registry needed)"
for v in v1 v2; do
  CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$v" -o "$dir/web-$v" ./examples/web
  go run ./scripts/mkimage -o "$dir/web-$v.tar" -name "example/web:$v" -entrypoint /web "$dir/web-$v=/web"
done
ok

ip netns add "$id-lan"
ip netns add "$id"
ip -n "$id" link set lo up
ip -n "$id" link add eth0 type veth peer name eth0 netns "$id-lan"
ip -n "$id" addr add 192.168.78.1/24 dev eth0
ip -n "$id-lan" link set eth0 up
ip -n "$id" link set eth0 up
ip -n "$id" route add default via 192.168.78.254

step "Start a node from empty data until it is Ready"
show skiff server
start_node
wait_for 60 test -s "$dir/etc/skiff.yaml" || fail "no kubeconfig"
wait_for 60 node_ready || fail "the node did not become Ready"
ok
kubectl get nodes -o wide

step "Import two images"
show skiff image import web-v1.tar web-v2.tar
in_node "$skiff" image import "$dir/web-v1.tar" "$dir/web-v2.tar" "${dirs[@]}"
ok

step "Apply a 3-replica Deployment and a Service"
show skiff kubectl apply -f examples/web.yaml
kubectl apply -f examples/web.yaml
kubectl rollout status deployment/web --timeout=60s
ok
kubectl get pods -o wide
ip=$(kubectl get service web -o 'jsonpath={.spec.clusterIP}')

step "curl the Service until all 3 pods have answered"
declare -A seen=()
for _ in $(seq 300); do
  answer=$(in_node curl -fsS --max-time 2 "http://$ip/") || fail "curl http://$ip/"
  seen[${answer##* }]=1
  [ ${#seen[@]} -lt 3 ] || break
done
[ ${#seen[@]} -eq 3 ] || fail "only ${#seen[@]} of 3 pods answered"
printf '   %s\n' "${!seen[@]}"
ok

step "Scale to 10"
show skiff kubectl scale deployment/web --replicas=10
kubectl scale deployment/web --replicas=10
kubectl rollout status deployment/web --timeout=120s | tail -1
ok

# One request after the other against the Service while the image changes; every failed one is counted.
requests() { in_node bash -c 'ok=0 bad=0; while [ ! -e "$1/stop" ]; do if curl -fsS --max-time 5 "http://$2/" >/dev/null 2>&1; then ok=$((ok+1)); else bad=$((bad+1)); fi; done; echo "$ok $bad" >"$1/load"' _ "$dir" "$ip"; }
step "Roll out a new image under load, with no failed request"
requests & load=$!
show skiff kubectl set image deployment/web web=example/web:v2
kubectl set image deployment/web web=example/web:v2
kubectl rollout status deployment/web --timeout=180s | tail -1
touch "$dir/stop"; wait "$load"; load=''
read -r good bad <"$dir/load"
printf '   %d requests answered, %d failed\n' "$good" "$bad"
[ "$bad" -eq 0 ] && [ "$good" -gt 0 ] || fail "$bad requests failed"
case $(in_node curl -fsS "http://$ip/") in v2*) ;; *) fail "the new version does not answer" ;; esac
ok

step "Roll back"
show skiff kubectl rollout undo deployment/web
kubectl rollout undo deployment/web
kubectl rollout status deployment/web --timeout=180s | tail -1
case $(in_node curl -fsS "http://$ip/") in v1*) ;; *) fail "the old version does not answer" ;; esac
kubectl rollout history deployment/web
ok

step "Delete a pod and see it replaced"
pod=$(live_pods | head -n 1)
show skiff kubectl delete pod "$pod"
kubectl delete pod "$pod" --wait=false
replaced() { [ "$(kubectl get deployment web -o 'jsonpath={.status.readyReplicas}')" = 10 ] && ! kubectl get pod "$pod"; }
wait_for 60 replaced || fail "not replaced"
ok

step "kill -9 a container and see it restarted, restartCount 1"
pod=$(live_pods | head -n 1)
uid=$(kubectl get pod "$pod" -o 'jsonpath={.metadata.uid}')
victim=$(grep -l "pod$uid" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3 | while read -r p; do if [ "$(readlink "/proc/$p/exe" 2>/dev/null)" = /web ]; then echo "$p"; fi; done | head -1)
[ -n "$victim" ] || fail "the container's process was not found"
kill -9 "$victim"
restarted() { [ "$(kubectl get pod "$pod" -o 'jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}')" = "1 true" ]; }
wait_for 60 restarted || fail "not restarted"
kubectl get pod "$pod"
ok

step "kill -9 the daemon and start it again: no container restarts"
before=$(kubectl get pods -l app=web -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{"\n"}{end}' | sort)
kill -9 "$pid"; wait "$pid" 2>/dev/null || true
! in_node curl -ksS --max-time 2 https://192.168.78.1:6443/livez >/dev/null 2>&1 || fail "the daemon still answers"
in_node curl -fsS --max-time 2 "http://$ip/" >/dev/null || fail "the Service does not answer while the daemon is dead"
start_node
wait_for 60 node_ready || fail "the node did not come back"
sleep 3
after=$(kubectl get pods -l app=web -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{"\n"}{end}' | sort)
[ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after") || true; fail "containers changed"; }
echo "   10 containers, the same as before"
ok

step "Delete everything"
kubectl delete -f examples/web.yaml
gone() { [ -z "$(kubectl get pods -o name)" ]; }
wait_for 60 gone || fail "pods are left"
ok

printf '\n\033[1mSummary\033[0m\n'
printf '%s\n' "${summary[@]}"
printf '%7d ms  in all\n' $((($(now) - T0) / 1000000))
