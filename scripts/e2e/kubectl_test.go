package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
)

// columns checks the header of a table.
func (s *space) columns(want string, args ...string) {
	s.Helper()
	header, _, _ := strings.Cut(s.kubectl(args...), "\n")
	s.equal(strings.Join(args, " "), strings.Join(regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(header), -1), "|"), want)
}

// TestGet: columns as upstream's, formats, selectors.
func TestGet(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 1) + shell("a", "true") + shell("b", sleeper))
	s.kubectl("expose", "deployment", "web", "--port=80", "--target-port=http")
	s.kubectl("create", "configmap", "c", "--from-literal=k=v")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.ready("b")
	s.ended("a")
	for args, want := range map[string]string{
		"pods":                      "NAME|READY|STATUS|RESTARTS|AGE",
		"pods -o wide":              "NAME|READY|STATUS|RESTARTS|AGE|IP|NODE|NOMINATED NODE|READINESS GATES",
		"deployments -o wide":       "NAME|READY|UP-TO-DATE|AVAILABLE|AGE|CONTAINERS|IMAGES|SELECTOR",
		"replicasets":               "NAME|DESIRED|CURRENT|READY|AGE",
		"services -o wide":          "NAME|TYPE|CLUSTER-IP|EXTERNAL-IP|PORT(S)|AGE|SELECTOR",
		"endpointslices":            "NAME|ADDRESSTYPE|PORTS|ENDPOINTS|AGE",
		"configmaps":                "NAME|DATA|AGE",
		"serviceaccounts":           "NAME|AGE",
		"events":                    "LAST SEEN|TYPE|REASON|OBJECT|MESSAGE",
		"nodes":                     "NAME|STATUS|ROLES|AGE|VERSION",
		"nodes -o wide":             "NAME|STATUS|ROLES|AGE|VERSION|INTERNAL-IP|EXTERNAL-IP|OS-IMAGE|KERNEL-VERSION|CONTAINER-RUNTIME",
		"namespaces":                "NAME|STATUS|AGE",
		"clusterroles":              "NAME|CREATED AT",
		"clusterrolebindings":       "NAME|ROLE|AGE",
		"leases":                    "",
		"pods -L app --show-labels": "NAME|READY|STATUS|RESTARTS|AGE|APP|LABELS",
	} {
		if want == "" {
			s.contains(args, s.kubectl(append([]string{"get"}, strings.Fields(args)...)...), "No resources found in "+s.name+" namespace.")
			continue
		}
		s.columns(want, append([]string{"get"}, strings.Fields(args)...)...)
	}
	s.contains("status of a", s.kubectl("get", "pod", "a"), "0/1", "Completed")
	s.contains("yaml", s.kubectl("get", "pod", "b", "-o", "yaml"), "apiVersion: v1", "kind: Pod", "restartPolicy: Never", "phase: Running")
	var list struct {
		Kind  string
		Items []any
	}
	if err := json.Unmarshal([]byte(s.kubectl("get", "pods", "-o", "json")), &list); err != nil || list.Kind != "List" || len(list.Items) != 3 {
		t.Errorf("json: %v %s %d", err, list.Kind, len(list.Items))
	}
	s.equal("jsonpath", s.kubectl("get", "pods", "-l", "app in (a, b)", "--sort-by=.metadata.name", "-o", "jsonpath={.items[*].metadata.name}"), "a b")
	s.equal("label selector", s.kubectl("get", "pods", "-l", "app=a", "-o", "name"), "pod/a")
	s.equal("negative selector", s.kubectl("get", "pods", "-l", "app!=web,app notin (b)", "-o", "name"), "pod/a")
	s.equal("field selector", s.kubectl("get", "pods", "--field-selector=status.phase=Running,metadata.name=b", "-o", "name"), "pod/b")
	s.equal("field selector of a node", s.kubectl("get", "pods", "--field-selector=spec.nodeName=n1,status.phase!=Running", "-o", "name"), "pod/a")
	s.equal("custom columns", s.kubectl("get", "pod", "a", "--no-headers", "-o", "custom-columns=N:.metadata.name,P:.spec.restartPolicy"), "a     Never")
	s.equal("go-template", s.kubectl("get", "configmap", "c", "-o", "go-template={{.data.k}}"), "v")
	s.contains("chunks", s.kubectl("get", "pods", "--chunk-size=1", "-o", "name"), "pod/a", "pod/b", "pod/web-")
	s.contains("all", s.kubectl("get", "all"), "pod/a", "service/web", "deployment.apps/web", "replicaset.apps/web-")
	s.refused([]string{"get", "pod", "none"}, `Error from server (NotFound): pods "none" not found`)
	s.refused([]string{"get", "nonsense"}, `error: the server doesn't have a resource type "nonsense"`)
}

// TestGetWatch: get -w shows changes as they come. It waits only for states that last until the test ends them.
func TestGetWatch(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("before", sleeper))
	s.ready("before")
	out, _ := s.start("get", "pods", "-w", "--output-watch-events")
	s.saysInTime(out, "before") // the list is there, so the watch sees all that follows
	s.apply(shell("a", "until [ -e /tmp/end ]; do sleep 0.1; done"))
	s.ready("a")
	s.sh("a", "touch /tmp/end")
	s.matchesInTime(out, `(?s)\nADDED +a +0/1 +Pending.*\nMODIFIED +a +1/1 +Running.*\nMODIFIED +a +0/1 +Completed`)
}

// TestChange: labels, annotations, patches of all kinds, edit, replace, diff, server-side apply.
func TestChange(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 1))
	s.kubectl("label", "deployment/web", "tier=front")
	s.refused([]string{"label", "deployment/web", "tier=back"}, "already has a value (front), and --overwrite is false")
	s.kubectl("label", "deployment/web", "tier-")
	s.kubectl("annotate", "deployment/web", "note=hello")
	s.equal("annotation", s.get("deployment/web", ".metadata.annotations.note"), "hello")

	s.kubectl("patch", "deployment/web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}`)
	s.kubectl("patch", "deployment/web", "--type=strategic", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"B","value":"2"}]}]}}}}`)
	s.equal("strategic merges by name", s.get("deployment/web", ".spec.template.spec.containers[0].env[*].name"), "B A")
	s.kubectl("patch", "deployment/web", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","$patch":"delete"}]}]}}}}`)
	s.equal("strategic deletes", s.get("deployment/web", ".spec.template.spec.containers[0].env[*].name"), "B")
	s.kubectl("patch", "deployment/web", "--type=merge", "-p", `{"metadata":{"annotations":{"note":null,"other":"x"}}}`)
	s.equal("merge", s.get("deployment/web", ".metadata.annotations.note")+s.get("deployment/web", ".metadata.annotations.other"), "x")
	s.kubectl("patch", "deployment/web", "--type=json", "-p", `[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":2},{"op":"remove","path":"/metadata/annotations/other"}]`)
	s.equal("json", s.get("deployment/web", ".spec.replicas"), "2")
	s.kubectl("patch", "deployment/web", "--subresource=scale", "--type=merge", "-p", `{"spec":{"replicas":1}}`)
	s.equal("scale", s.get("deployment/web", ".spec.replicas"), "1")

	s.kubectl("create", "configmap", "c", "--from-literal=a=1")
	out, err := s.node.Run(time.Minute, "env", "KUBE_EDITOR=sed -i -e '/a:/s/1/2/'", executable, "kubectl", "--kubeconfig", s.node.Kubeconfig(), "-n", s.name, "edit", "configmap", "c")
	if err != nil {
		t.Fatalf("edit: %v %s", err, out)
	}
	s.equal("edited", s.get("configmap/c", ".data.a"), "2")
	if out, err := s.input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {b: '3'}\n", "replace", "-f", "-"); err != nil {
		t.Fatalf("replace: %v %s", err, out)
	}
	s.equal("replaced", s.get("configmap/c", ".data"), `{"b":"3"}`)
	out, err = s.input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {b: '4'}\n", "diff", "-f", "-")
	if err == nil {
		t.Error("diff must exit with 1 when there is a difference")
	}
	s.contains("diff", out, `-  b: "3"`, `+  b: "4"`)

	ssa := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {k: %s}\n"
	for _, manager := range []string{"one", "two"} {
		_, err = s.input(strings.ReplaceAll(ssa, "%s", manager), "apply", "--server-side", "--field-manager="+manager, "-f", "-")
	}
	if err == nil || !strings.Contains(err.Error(), `conflict with "one": .data.k`) {
		t.Errorf("server-side apply: %v", err)
	}
	if _, err = s.input(strings.ReplaceAll(ssa, "%s", "two"), "apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-"); err != nil {
		t.Error(err)
	}
	dry, err := s.input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: dry}\n", "apply", "--dry-run=server", "-f", "-")
	if err != nil {
		t.Error(err)
	}
	s.contains("dry run", dry, "configmap/dry created (server dry run)")
	s.refused([]string{"get", "configmap", "dry"}, "not found")
}

// TestAsk: what tells about the cluster and its objects.
func TestAsk(t *testing.T) {
	s := newSpace(t)
	s.apply(shell("a", sleeper))
	s.ready("a")
	s.contains("describe pod", s.kubectl("describe", "pod", "a"), "Node:             n1/192.168.77.1", "Container ID:  skiff://", "State:          Running", "Successfully assigned "+s.name+"/a to n1", "Started")
	s.contains("describe node", s.kubectl("describe", "node", "n1"), "Ready", "KubeletReady", "Allocatable:", "PodCIDR", "Allocated resources:", s.name)
	s.contains("events", s.kubectl("events", "--for", "pod/a"), "Scheduled", "Pulled", "Created", "Started")
	s.contains("api-resources", s.kubectl("api-resources"), "deployments", "deploy", "apps/v1", "endpointslices", "discovery.k8s.io/v1", "rolebindings")
	s.contains("api-resources by verb", s.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "name"), "pods", "jobs.batch")
	s.contains("api-versions", s.kubectl("api-versions"), "v1", "apps/v1", "rbac.authorization.k8s.io/v1", "events.k8s.io/v1")
	s.contains("explain", s.kubectl("explain", "deployment.spec.strategy.rollingUpdate"), "GROUP:", "apps", "maxSurge", "<IntOrString>", "maxUnavailable")
	s.contains("explain --recursive", s.kubectl("explain", "pod.spec.containers", "--recursive"), "livenessProbe", "terminationGracePeriodSeconds")
	s.contains("explain v2", s.kubectl("explain", "pod.spec.containers.image"), "FIELD: image <string>")
	s.contains("version", s.kubectl("version"), "Client Version: v1.37.", "Server Version: v1.37.")
	s.contains("cluster-info", s.kubectl("cluster-info"), "Kubernetes control plane")
	s.equal("auth can-i", s.kubectl("auth", "can-i", "delete", "pods/log"), "yes")
	s.refused([]string{"auth", "can-i", "list", "secrets", "--as=system:serviceaccount:" + s.name + ":default"}, "no")
	s.contains("auth can-i --list", s.kubectl("auth", "can-i", "--list", "--as=system:serviceaccount:"+s.name+":default"), "selfsubjectaccessreviews.authorization.k8s.io", "/healthz")
	s.contains("whoami", s.kubectl("auth", "whoami"), "system:masters")
	s.contains("raw", s.kubectl("get", "--raw", "/readyz?verbose"), "etcd ok")
	s.contains("top needs metrics", func() string { out, _ := s.tryKubectl("top", "pods"); return out }(), "etrics")
}
