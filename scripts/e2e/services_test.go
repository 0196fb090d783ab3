package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestServices: a Service is reached from the node, from pods, from itself (hairpin) and from outside, and refuses without endpoints.
func TestServices(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 3) + shell("client", sleeper) + `
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: other, port: 8081, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  sessionAffinity: ClientIP
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec:
  selector: {app: nobody}
  ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.` + s.name + `.svc.cluster.local}
`)
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.ready("client")
	ip := func(service string) string { return s.get("service/"+service, ".spec.clusterIP") }
	s.eventually("all three answer", func() error {
		seen := map[string]bool{}
		for range 30 {
			out, err := s.curl("http://" + ip("web"))
			if err != nil {
				return err
			}
			seen[out] = true
		}
		if len(seen) != 3 {
			return fmt.Errorf("%d pods answer", len(seen))
		}
		return nil
	})
	s.contains("second port", s.sh("client", "wget -qO- http://"+ip("web")+":8081"), "v1 web-")

	port := s.get("service/outside", ".spec.ports[0].nodePort")
	for _, address := range []string{"127.0.0.1", s.node.IP} {
		if out, err := s.curl("http://" + address + ":" + port); err != nil || !strings.HasPrefix(out, "v1 ") {
			t.Errorf("node port at %s: %q %v", address, out, err)
		}
	}
	if out, err := s.box.Run(patience, "curl", "-sSf", "--max-time", "5", "http://"+s.node.IP+":"+port); err != nil {
		t.Errorf("node port from outside: %s %v", out, err)
	}
	s.contains("node port from a pod", s.sh("client", "wget -qO- http://"+s.node.IP+":"+port), "v1 web-")

	first := s.sh("client", "wget -qO- http://"+ip("sticky"))
	for range 10 {
		s.equal("session affinity", s.sh("client", "wget -qO- http://"+ip("sticky")), first)
	}

	out, err := s.curl("-w", "\ntook %{time_total}", "http://"+ip("nobody")) // its own time: to start it may take longer
	if err == nil || !strings.Contains(out, "refused") && !strings.Contains(out, "Couldn't connect") && !strings.Contains(out, "connect to") {
		t.Errorf("no endpoints: %q %v", out, err)
	}
	_, took, _ := strings.Cut(out, "\ntook ")
	if seconds := 0.0; !parsed(took, &seconds) || seconds > 4 {
		t.Errorf("refused only after %q s", took)
	}
	s.contains("no endpoints from a pod", s.sh("client", "timeout 4 wget -qO- http://"+ip("nobody")+" 2>&1 || true"), "refused")

	s.dns("client")
	s.scaledDown(ip("web"))
}

func parsed(text string, number *float64) bool {
	_, err := fmt.Sscan(text, number)
	return err == nil
}

// dns asks names from a pod.
func (s *space) dns(pod string) {
	s.Helper()
	for _, name := range []string{"web", "web." + s.name, "web." + s.name + ".svc", "web." + s.name + ".svc.cluster.local", "alias"} {
		s.contains(name, s.sh(pod, "wget -qO- http://"+name), "v1 web-")
	}
	s.contains("kubernetes", s.sh(pod, "nslookup kubernetes.default.svc.cluster.local"), "10.43.0.1")
	podIPs := strings.Fields(s.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.podIP}"))
	s.contains("headless", s.sh(pod, "nslookup headless."+s.name+".svc.cluster.local"), podIPs...)
	s.contains("SRV", s.sh(pod, "nslookup -type=srv _http._tcp.web."+s.name+".svc.cluster.local"), "80 web."+s.name+".svc.cluster.local")
	s.contains("PTR", s.sh(pod, "nslookup "+s.get("service/web", ".spec.clusterIP")), "web."+s.name+".svc.cluster.local")
	s.contains("no such name", s.sh(pod, "nslookup none."+s.name+".svc.cluster.local 2>&1 || true"), "NXDOMAIN")
	s.contains("resolv.conf", s.sh(pod, "cat /etc/resolv.conf"), "nameserver 10.43.0.10", "search "+s.name+".svc.cluster.local svc.cluster.local cluster.local", "options ndots:5")
}

// scaledDown: with one pod left, that pod reaches itself through its Service; with none, the Service refuses.
func (s *space) scaledDown(ip string) {
	s.Helper()
	s.kubectl("scale", "deployment/web", "--replicas=0")
	s.eventually("refused", func() error {
		if out, err := s.curl("http://" + ip); err == nil {
			return fmt.Errorf("still answers: %s", out)
		}
		return nil
	})
	s.apply(shell("self", "echo it is me >/tmp/index.html; exec httpd -f -p 8080 -h /tmp", "ports: [{name: http, containerPort: 8080}]"))
	s.kubectl("label", "pod", "self", "app=web", "--overwrite")
	s.ready("self")
	s.eventually("hairpin", func() error {
		out, err := s.tryKubectl("exec", "self", "--", "wget", "-qO-", "http://"+ip)
		if err == nil && strings.TrimSpace(out) != "it is me" {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
}

// TestPodNetwork: pods reach each other, the node, the API and what is outside, and are reached by hostname and hostPort.
func TestPodNetwork(t *testing.T) {
	s := newSpace(t)
	s.apply(strings.ReplaceAll(shell("server", "hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp", "ports: [{containerPort: 8080, hostPort: 18080}]"),
		"restartPolicy: Never", "hostname: box\n  subdomain: sub\n  restartPolicy: Never") + shell("client", sleeper) + `
---
apiVersion: v1
kind: Service
metadata: {name: sub}
spec:
  clusterIP: None
  selector: {app: server}
  ports: [{port: 8080}]
`)
	s.ready("server", "client")
	ip := s.get("pod/server", ".status.podIP")
	s.equal("pod to pod", s.sh("client", "wget -qO- http://"+ip+":8080"), "box")
	s.eventually("by hostname", func() error {
		out, err := s.tryKubectl("exec", "client", "--", "wget", "-qO-", "http://box.sub:8080")
		if err == nil && strings.TrimSpace(out) != "box" {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
	for _, from := range []string{"127.0.0.1", s.node.IP} {
		if out, err := s.curl("http://" + from + ":18080"); err != nil || strings.TrimSpace(out) != "box" {
			t.Errorf("host port at %s: %q %v", from, out, err)
		}
	}
	s.contains("own name", s.sh("server", "cat /etc/hosts; hostname -f"), ip+"\tbox.sub."+s.name+".svc.cluster.local\tbox")
	s.sh("client", "nc -w 3 kubernetes.default 443 </dev/null")
	if out, err := s.box.Run(patience, "ping", "-c1", "-W2", s.node.IP); err != nil {
		t.Logf("no ping here: %s", out)
	} else {
		s.contains("outside", s.sh("client", "ping -c1 -W2 192.168.77.254"), "1 packets received")
	}
}
