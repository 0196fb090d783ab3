package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"codeberg.org/skiff/skiff/scripts/testbox"
)

// join adds a machine to the test's own cluster and waits until it is Ready and has the images.
func (s *space) join(name string, flags ...string) *testbox.Node {
	s.Helper()
	n, err := s.box.Node(name)
	if err != nil {
		s.Fatal(err)
	}
	if err := n.Join(s.node, flags...); err != nil {
		s.Fatal(err)
	}
	if err := s.node.WaitReady(patience, name); err != nil {
		s.Fatal(err)
	}
	if err := importAll(n); err != nil {
		s.Fatal(err)
	}
	return n
}

// on pins the pods of a manifest to a node.
func on(node, manifest string) string {
	return strings.NewReplacer("\nspec:\n  terminationGracePeriodSeconds:", "\nspec:\n  nodeSelector: {kubernetes.io/hostname: "+node+"}\n  terminationGracePeriodSeconds:",
		"    spec:\n      terminationGracePeriodSeconds:", "    spec:\n      nodeSelector: {kubernetes.io/hostname: "+node+"}\n      terminationGracePeriodSeconds:").Replace(manifest)
}

// TestSecondNode: pods of two machines reach each other and every Service by any way in, and the server reaches the pods of both.
func TestSecondNode(t *testing.T) {
	s := own(t)
	n2 := s.join("n2")
	s.apply(on("n1", deployment("one", 1)) + on("n2", deployment("two", 1)) + on("n1", shell("client1", sleeper)) + on("n2", shell("client2", sleeper)))
	for _, d := range []string{"one", "two"} {
		s.kubectl("rollout", "status", "deployment/"+d, inTime)
		s.kubectl("expose", "deployment", d, "--port=80", "--target-port=http", "--type=NodePort")
	}
	s.ready("client1", "client2")
	for i, node := range []string{"n1", "n2"} {
		s.equal("node of the client", s.get(fmt.Sprintf("pod/client%d", i+1), ".spec.nodeName"), node)
	}
	for _, client := range []string{"client1", "client2"} {
		for _, server := range []string{"one", "two"} {
			pod := s.get("pods", ".items[?(@.metadata.labels.app==\""+server+"\")].status.podIP")
			service, port := s.get("service/"+server, ".spec.clusterIP"), s.get("service/"+server, ".spec.ports[0].nodePort")
			for _, url := range []string{"http://" + pod + ":8080", "http://" + service, "http://" + server, "http://" + server + "." + s.name + ".svc.cluster.local",
				"http://" + s.node.IP + ":" + port, "http://" + n2.IP + ":" + port} {
				s.eventually(client+" → "+url, func() error {
					out, err := s.tryKubectl("exec", client, "--", "timeout", "5", "wget", "-qO-", url)
					if err == nil && !strings.HasPrefix(out, "v1 "+server+"-") {
						err = fmt.Errorf("answer %q", out)
					}
					return err
				})
			}
		}
	}
	s.eventually("a node port from outside", func() error {
		out, err := s.box.Run(patience, "curl", "-fsS", "--max-time", "5", "http://"+n2.IP+":"+s.get("service/one", ".spec.ports[0].nodePort"))
		if err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
		return nil
	})
	// A large answer: the vxlan's smaller MTU must hold on the whole way.
	s.equal("1 MiB between the nodes", s.sh("client1", "dd if=/dev/zero bs=1024 count=1024 2>/dev/null >/tmp/f; busybox httpd -p 8090 -h /tmp; echo up"), "up")
	s.equal("received", s.sh("client2", "wget -qO- http://"+s.get("pod/client1", ".status.podIP")+":8090/f | wc -c"), "1048576")

	// Through the tunnel.
	pod := s.get("pods", ".items[?(@.metadata.labels.app==\"two\")].metadata.name")
	s.contains("logs from n2", s.logs(pod), "is listening")
	s.equal("exec on n2", s.sh("client2", "echo $((6*7))"), "42")
	s.contains("pod proxy on n2", s.kubectl("get", "--raw", "/api/v1/namespaces/"+s.name+"/pods/"+pod+":8080/proxy/"), "v1 "+pod)
	s.equal("node proxy", s.kubectl("get", "--raw", "/api/v1/nodes/n2/proxy/healthz"), "ok")

	// Away and back: its containers go on, and nothing restarts.
	if err := n2.Kill(); err != nil {
		t.Fatal(err)
	}
	s.refused([]string{"exec", "client2", "--", "true"}, "n2")
	s.equal("the pod while its agent is away", s.sh("client1", "timeout 5 wget -qO- http://"+s.get("pod/"+pod, ".status.podIP")+":8080 | cut -c 1-6"), "v1 two")
	if err := n2.Start("agent", "--server", "https://"+s.node.IP+":6443"); err != nil { // a node that has joined needs no token
		t.Fatal(err)
	}
	s.eventually("exec after the agent is back", func() error { _, err := s.tryKubectl("exec", "client2", "--", "true"); return err })
	s.equal("restarts", s.get("pods", ".items[*].status.containerStatuses[*].restartCount"), "0 0 0 0")
}

// TestNodeLost: a node that falls silent becomes NotReady and its pods run elsewhere; when it is back they are gone from it.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	s := own(t, "--node-monitor-grace-period=25s")
	n2 := s.join("n2")
	s.apply(strings.ReplaceAll(deployment("web", 4), "      terminationGracePeriodSeconds: 1\n", `      terminationGracePeriodSeconds: 1
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
`) + on("n2", shell("stays", sleeper)))
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.ready("stays")
	if where := s.get("pods", ".items[*].spec.nodeName"); strings.Count(where, "n2") < 2 {
		t.Fatalf("the pods are not on both nodes: %s", where)
	}
	if err := n2.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	s.becomes("node/n2", `.status.conditions[?(@.type=="Ready")].status`, "Unknown")
	t.Logf("NotReady after %v", time.Since(killed).Round(time.Second))
	s.eventually("the taint", func() error {
		if have := s.get("node/n2", ".spec.taints[*].key"); !strings.Contains(have, "node.kubernetes.io/unreachable") {
			return fmt.Errorf("taints %s", have)
		}
		return nil
	})
	s.contains("get nodes", s.kubectl("get", "node", "n2"), "NotReady")
	s.eventually("4 replicas on n1", func() error {
		out := s.kubectl("get", "pods", "-l", "app=web", "--field-selector=spec.nodeName=n1,status.phase=Running", "-o", "name")
		if n := len(strings.Fields(out)); n != 4 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	s.equal("a pod that tolerates it for five minutes", s.get("pod/stays", ".metadata.deletionTimestamp"), "")
	s.becomes("pod/stays", `.status.conditions[?(@.type=="Ready")].status`, "False")
	if err := n2.Start("agent", "--server", "https://"+s.node.IP+":6443"); err != nil {
		t.Fatal(err)
	}
	if err := s.node.WaitReady(patience, "n2"); err != nil {
		t.Fatal(err)
	}
	s.ready("stays")
	s.equal("restarts", s.get("pod/stays", ".status.containerStatuses[0].restartCount"), "0")
	s.becomes("node/n2", ".spec.taints", "")
	s.eventually("evicted pods are gone", func() error {
		if out := s.kubectl("get", "pods", "-l", "app=web", "--field-selector=spec.nodeName=n2", "-o", "name"); out != "" {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	s.kubectl("scale", "deployment/web", "--replicas=8")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.contains("new pods go there again", s.get("pods", ".items[*].spec.nodeName"), "n2")
}

// TestDrain: cordon, drain and uncordon move pods between the nodes; a deleted Node comes back by itself.
func TestDrain(t *testing.T) {
	s := own(t)
	s.join("n2", "--node-label", "disk=ssd", "--node-taint", "only=me:NoSchedule")
	s.equal("label", s.get("node/n2", ".metadata.labels.disk"), "ssd")
	s.apply(shell("here", sleeper))
	s.ready("here")
	s.equal("a tainted node takes no pod", s.get("pod/here", ".spec.nodeName"), "n1")
	s.kubectl("taint", "node", "n2", "only-")
	s.kubectl("delete", "pod", "here")
	s.apply(deployment("web", 4))
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.contains("spread", s.get("pods", ".items[*].spec.nodeName"), "n1", "n2")
	s.contains("drain", s.kubectl("drain", "n2", "--ignore-daemonsets", inTime), "node/n2 cordoned", "node/n2 drained")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.equal("after drain", strings.Join(unique(s.get("pods", ".items[?(@.status.phase==\"Running\")].spec.nodeName")), " "), "n1")
	s.contains("cordoned", s.kubectl("get", "node", "n2"), "SchedulingDisabled")
	s.kubectl("uncordon", "n2")
	s.kubectl("delete", "node", "n2")
	if err := s.node.WaitReady(patience, "n2"); err != nil {
		t.Error(err)
	}
}

func unique(words string) (out []string) {
	seen := map[string]bool{}
	for _, w := range strings.Fields(words) {
		if !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	return out
}

// TestJoinRefused: what does not belong to the cluster does not get in, says why and ends; a joined node is no administrator.
func TestJoinRefused(t *testing.T) {
	s := own(t)
	token, err := s.node.Skiff("token")
	if err != nil {
		t.Fatal(err)
	}
	secret := token[strings.LastIndex(token, ":")+1:]
	hash := strings.TrimPrefix(token[:strings.Index(token, "::")], "SK10")
	n2, err := s.box.Node("n2")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, token, name, want string }{
		{"wrong secret", strings.TrimSuffix(token, secret) + "wrong", "n2", "the join token is not accepted"},
		{"wrong CA hash", strings.Replace(token, hash, strings.Repeat("0", 64), 1), "n2", "it is another cluster, or somebody intercepts the connection"},
		{"no token", "", "n2", "needs a token to join"},
		{"no token at all", "SK10zz", "n2", "invalid join token"},
		{"the name of another machine", token, "n1", "choose another with --node-name"},
		{"an impossible name", token, "Not_A_Name", "Not_A_Name"},
	} {
		if err := os.Truncate(n2.LogFile(), 0); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := n2.Start("agent", "--server", "https://"+s.node.IP+":6443", "--token", c.token, "--node-name", c.name); err != nil {
			t.Fatal(err)
		}
		select {
		case <-n2.Exited():
		case <-time.After(patience):
			t.Errorf("%s: the agent goes on", c.what)
			_ = n2.Kill()
		}
		out, _ := os.ReadFile(n2.LogFile())
		s.contains(c.what, string(out), c.want)
		if n2.ExitCode() == 0 {
			t.Errorf("%s: exit status 0", c.what)
		}
	}
	s.equal("nodes", s.get("nodes", ".items[*].metadata.name"), "n1")

	// The token opens nothing but joining.
	url := "https://" + s.node.IP + ":6443/api/v1/secrets"
	for what, args := range map[string][]string{"bearer": {"-H", "Authorization: Bearer " + secret}, "basic": {"-u", "node:" + secret}} {
		out, err := n2.Run(patience, "curl", append(args, "-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}", url)...)
		if err != nil || out != "401" && out != "403" {
			t.Errorf("the token as %s: %s %v", what, out, err)
		}
	}

	// The node's own certificate: its own affairs only.
	if err := n2.Join(s.node); err != nil {
		t.Fatal(err)
	}
	if err := s.node.WaitReady(patience, "n2"); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(n2.Dir(), "lib", "agent", "tls", "*"))
	t.Log(files)
	cert, ca := filepath.Join(n2.Dir(), "lib", "agent", "tls", "client.pem"), filepath.Join(n2.Dir(), "lib", "agent", "tls", "ca.crt")
	asNode := func(args ...string) (string, error) {
		return n2.Run(patience, executable, append([]string{"kubectl", "--server=https://" + s.node.IP + ":6443", "--certificate-authority=" + ca,
			"--client-certificate=" + cert, "--client-key=" + cert, "-n", s.name}, args...)...)
	}
	if out, err := asNode("get", "node", "n2"); err != nil {
		t.Errorf("its own node: %s %v", out, err)
	}
	s.kubectl("create", "secret", "generic", "hidden", "--from-literal=a=b")
	for _, args := range [][]string{{"get", "secrets", "-A"}, {"get", "secret", "hidden"}, {"delete", "namespace", s.name}, {"label", "node", "n1", "a=b"}, {"create", "configmap", "a"},
		{"create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", "--user=system:node:n2"}, {"create", "token", "default"}} {
		if out, err := asNode(args...); err == nil || !strings.Contains(out, "orbidden") {
			t.Errorf("kubectl %s as the node: %s %v", strings.Join(args, " "), out, err)
		}
	}
}

// TestStandalone: an agent without a server runs the pods of its manifests folder and keeps them running.
func TestStandalone(t *testing.T) {
	t.Parallel()
	box, err := testbox.New(executable)
	if err != nil {
		t.Fatal(err)
	}
	n, err := box.Node("n1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log, _ := os.ReadFile(n.LogFile()); t.Failed() {
			t.Logf("%s", tail(string(log), 60))
		}
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := n.Start("agent"); err != nil {
		t.Fatal(err)
	}
	s := &space{TB: t, cluster: &cluster{box: box, node: n}}
	s.eventually("images", func() error { return importAll(n) })
	manifests := filepath.Join(n.Dir(), "lib", "agent", "manifests")
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(manifests, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	web := func(version string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: [{name: web, image: 'example/web:" + version + "', ports: [{containerPort: 8080, hostPort: 8081}]}]\n"
	}
	answers := func(want string) {
		t.Helper()
		s.eventually("the web server answers "+want, func() error {
			out, err := curl(n, "http://"+n.IP+":8081")
			if err == nil && !strings.HasPrefix(out, want) {
				err = fmt.Errorf("%q", out)
			}
			return err
		})
	}
	put("web.yaml", web("v1"))
	put("broken.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: broken\n")
	put("wrong.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: wrong}\n")
	put("secret.yaml", strings.ReplaceAll(shell("secret", "true", "envFrom: [{secretRef: {name: none}}]"), "---\n", ""))
	answers("v1 web-n1")
	log, _ := os.ReadFile(n.LogFile())
	s.contains("the log", string(log), "broken.yaml", "wrong.yaml")

	pids := func() string {
		out, _ := n.Run(patience, "sh", "-c", "for p in /proc/[0-9]*; do if [ \"$(readlink $p/exe)\" = /web ] && grep -qs '/"+n.CgroupRoot()+"/' $p/cgroup; then echo ${p#/proc/}; fi; done")
		return strings.TrimSpace(out)
	}
	first := pids()
	if err := n.Kill(); err != nil {
		t.Fatal(err)
	}
	answers("v1")
	if err := n.Start("agent"); err != nil {
		t.Fatal(err)
	}
	put("later.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: later}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: [{name: web, image: 'example/web:v2', ports: [{containerPort: 8080, hostPort: 8082}]}]\n")
	s.eventually("the restarted agent starts another pod, and so has looked after the first", func() error {
		_, err := curl(n, "http://"+n.IP+":8082")
		return err
	})
	if err := os.Remove(filepath.Join(manifests, "later.yaml")); err != nil {
		t.Fatal(err)
	}
	answers("v1")
	s.eventually("only the process of before kill -9 of the agent is left", func() error {
		if p := pids(); p != first {
			return fmt.Errorf("%q, want %q", p, first)
		}
		return nil
	})
	if out, err := n.Run(patience, "kill", "-9", first); err != nil {
		t.Fatal(out, err)
	}
	s.eventually("started again", func() error {
		if p := pids(); p == "" || p == first {
			return fmt.Errorf("process %q", p)
		}
		return nil
	})
	answers("v1")
	put("web.yaml", web("v2"))
	answers("v2")
	logs, _ := filepath.Glob(filepath.Join(n.Dir(), "log", "pods", "default_web-n1_*", "web", "0.log"))
	if len(logs) == 0 {
		t.Error("no log of the pod")
	}
	if err := os.Remove(filepath.Join(manifests, "web.yaml")); err != nil {
		t.Fatal(err)
	}
	s.eventually("ended", func() error {
		if p := pids(); p != "" {
			return fmt.Errorf("process %s", p)
		}
		return nil
	})
	if out, err := n.Skiff("image", "ls"); err != nil || !strings.Contains(out, "example/web") {
		t.Errorf("image ls: %s %v", out, err)
	}
}
