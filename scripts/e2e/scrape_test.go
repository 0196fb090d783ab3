package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestScrape reads a node's figures as Prometheus and metrics-server do: with a service account's token, on the node's own port.
func TestScrape(t *testing.T) {
	s := newSpace(t)
	s.apply(strings.ReplaceAll(shell("web", sleeper), "restartPolicy: Never", "restartPolicy: Always"))
	s.ready("web")
	s.apply(fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: scraper}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: scrape-%[1]s}
rules:
- {apiGroups: [""], resources: [nodes/metrics, nodes/stats, nodes/healthz], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scrape-%[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scrape-%[1]s}
subjects: [{kind: ServiceAccount, name: scraper, namespace: %[1]s}]
`, s.name))
	t.Cleanup(func() {
		s.tryKubectl("delete", "clusterrole,clusterrolebinding", "scrape-"+s.name)
	})
	scraper, nobody := strings.TrimSpace(s.kubectl("create", "token", "scraper")), strings.TrimSpace(s.kubectl("create", "token", "nobody"))
	ask := func(path, token string) string {
		t.Helper()
		args := []string{"-ksS", "--max-time", "60", "-w", "\n%{http_code}", "https://127.0.0.1:10250" + path}
		if token != "" {
			args = append(args, "-H", "Authorization: Bearer "+token)
		}
		out, err := s.node.Run(patience, "curl", args...)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return out
	}
	for _, path := range []string{"/healthz", "/metrics", "/pods"} {
		s.contains(path+" for a stranger", ask(path, ""), "\n401")
		s.contains(path+" with a token that is none", ask(path, "a.b.c"), "\n401")
		s.contains(path+" for somebody without rights", ask(path, nobody), "\n403")
	}
	s.contains("health", ask("/healthz", scraper), "ok\n200")
	s.contains("pods", ask("/pods", scraper), "\n403")
	s.contains("/metrics/resource", ask("/metrics/resource", scraper), fmt.Sprintf(`container_cpu_usage_seconds_total{container="main",namespace=%q,pod="web"}`, s.name), "\n200")
	s.contains("/metrics/cadvisor", ask("/metrics/cadvisor", scraper), fmt.Sprintf(`namespace=%q,pod="web"`, s.name), `container_network_receive_bytes_total{container=""`, "\n200")
	s.contains("/metrics", ask("/metrics", scraper), "kubelet_running_pods ", "rest_client_requests_total", "\n200")
	s.contains("/stats/summary", ask("/stats/summary", scraper), `"imageFs":{`, `"process_stats"`, `"rootfs":{`, "\n200")
}
