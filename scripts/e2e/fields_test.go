package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestNotHonoured: what the node cannot do as a pod says is refused in upstream's words, and never done in another way. (A pod with hostUsers:
// false either has a user namespace or fails to get a sandbox; it never runs as the host's root.)
func TestNotHonoured(t *testing.T) {
	s := newSpace(t)
	node := s.node.Name
	class := "sandboxed-" + s.name
	pod := func(name, spec string) string {
		return "\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {" + spec + ", terminationGracePeriodSeconds: 1}\n"
	}
	container := "containers: [{name: c, image: " + busybox + ", command: [sleep, '600']"
	s.apply("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: " + class + "}\nhandler: runsc\n" +
		pod("rejected-cpu", "nodeName: "+node+", "+container+", resources: {requests: {cpu: '500'}}}]") +
		pod("rejected-selector", "nodeName: "+node+", nodeSelector: {x: 'y'}, "+container+"}], initContainers: [{name: i, image: "+busybox+"}]") +
		pod("rejected-os", "nodeName: "+node+", os: {name: windows}, "+container+"}]") +
		pod("runtime-class", "runtimeClassName: "+class+", "+container+"}]") +
		pod("apparmor", container+", securityContext: {appArmorProfile: {type: Localhost, localhostProfile: not-there}}}]") +
		pod("devices", "resourceClaims: [{name: d, resourceClaimName: nobody}], "+container+"}]") +
		pod("privileged-port", container+"}], evictionResponders: [{name: example.com/x, priority: 1}]"))
	t.Cleanup(func() { s.kubectl("delete", "runtimeclass", class, "--wait=false") })

	for name, reason := range map[string]string{"rejected-cpu": "OutOfcpu", "rejected-selector": "NodeAffinity", "rejected-os": "PodOSNotSupported"} {
		s.becomes("pod/"+name, ".status.reason", reason)
		s.equal("phase", s.get("pod/"+name, ".status.phase"), "Failed")
		s.equal("container statuses", s.get("pod/"+name, ".status.containerStatuses")+s.get("pod/"+name, ".status.initContainerStatuses"), "")
		s.contains("STATUS of "+name, s.kubectl("get", "pod", name), reason)
	}
	if _, err := os.Stat("/sys/module/apparmor"); err != nil {
		s.becomes("pod/apparmor", ".status.reason", "AppArmor")
		s.contains("message", s.get("pod/apparmor", ".status.message"), "AppArmor is not enabled on the host")
	}
	s.eventually("runtime-class waits for its handler", func() error {
		return s.told("runtime-class", "FailedCreatePodSandBox", `no runtime for "runsc" is configured`)
	})
	s.equal("phase", s.get("pod/runtime-class", ".status.phase"), "Pending")
	s.becomes("pod/devices", ".status.conditions[?(@.type=='PodScheduled')].reason", "Unschedulable")
	if got := s.get("pod/privileged-port", ".spec.evictionResponders"); got != "" {
		t.Errorf("a field whose gate is off was kept: %s", got)
	}
}

// TestNotActedOn: what is accepted and not acted on yet is warned about, to whoever makes it and in an event.
func TestNotActedOn(t *testing.T) {
	s := newSpace(t)
	// kubectl says warnings on its standard error.
	out, err := s.node.RunInput(patience, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n",
		"sh", "-c", `exec "$@" 2>&1`, "sh", executable, "kubectl", "--kubeconfig", s.node.Kubeconfig(), "-n", s.name, "create", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	s.contains("warning", out, "Warning: NetworkPolicies are not enforced yet")
	s.eventually("an event says so", func() error { return s.told("closed", "NotActedOn", "not enforced yet") })
}

// told looks for an event about an object.
func (s *space) told(name, reason, text string) error {
	out := s.kubectl("get", "events", "--field-selector=involvedObject.name="+name+",reason="+reason, "-o", "jsonpath={.items[*].message}")
	if !strings.Contains(out, text) {
		return fmt.Errorf("events %s of %s: %q, want %q", reason, name, out, text)
	}
	return nil
}
