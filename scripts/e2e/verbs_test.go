package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWait: for conditions, fields, creation and deletion; a wait that is in vain ends in time and says so.
func TestWait(t *testing.T) {
	s := newSpace(t)
	created, _ := s.start("wait", "--for=create", "pod/a", inTime)
	s.apply(shell("a", sleeper) + shell("b", sleeper))
	s.saysInTime(created, "pod/a condition met")
	s.contains("several", s.kubectl("wait", "--for=condition=Ready", "pod", "--all", inTime), "pod/a condition met", "pod/b condition met")
	s.contains("a field", s.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/a", inTime), "condition met")
	s.contains("a selector", s.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app=b", inTime), "pod/b condition met")
	s.refused([]string{"wait", "--for=condition=Ready=false", "pod/a", "--timeout=1s"}, "timed out waiting for the condition on pods/a")
	s.refused([]string{"wait", "--for=condition=Ready", "pod/none", "--timeout=1s"}, `pods "none" not found`)
	s.kubectl("delete", "pod", "a", "--wait=false")
	s.kubectl("wait", "--for=delete", "pod/a", inTime)
	s.refused([]string{"get", "pod", "a"}, "not found")
}

// TestDelete: by selector, all, from a file, what is gone already, with a dry run.
func TestDelete(t *testing.T) {
	s := newSpace(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		s.kubectl("create", "configmap", name)
		s.kubectl("label", "configmap", name, "half="+map[bool]string{true: "one", false: "two"}[name < "c"])
	}
	s.contains("dry run", s.kubectl("delete", "configmap", "a", "--dry-run=server"), `configmap "a" deleted from `+s.name+` namespace (server dry run)`)
	s.contains("by selector", s.kubectl("delete", "configmaps", "-l", "half=one"), `"a" deleted`, `"b" deleted`)
	s.equal("left", s.kubectl("get", "configmaps", "-l", "half", "-o", "name"), "configmap/c\nconfigmap/d")
	s.refused([]string{"delete", "configmap", "a"}, `configmaps "a" not found`)
	s.equal("--ignore-not-found", s.kubectl("delete", "configmap", "a", "--ignore-not-found"), "")
	if _, err := s.input("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n", "delete", "-f", "-"); err != nil {
		t.Error(err)
	}
	s.kubectl("delete", "configmap", "--all")
	s.refused([]string{"delete", "configmap"}, "resource(s) were provided, but no name was specified")
	s.kubectl("create", "configmap", "held")
	s.kubectl("patch", "configmap", "held", "--type=merge", "-p", `{"metadata":{"finalizers":["e2e.example/hold"]}}`)
	s.kubectl("delete", "configmap", "held", "--wait=false")
	s.contains("a finalizer holds it", s.kubectl("get", "configmap", "held", "-o", "yaml"), "deletionTimestamp", "e2e.example/hold")
	s.kubectl("patch", "configmap", "held", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
	s.refused([]string{"get", "configmap", "held"}, "not found")
}

// TestForms: every -o form, from arguments and from files.
func TestForms(t *testing.T) {
	s := newSpace(t)
	s.kubectl("create", "configmap", "c", "--from-literal=k=v", "--from-literal=n=1")
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for form, want := range map[string]string{
		"name":                     "configmap/c",
		"jsonpath={.data.k}":       "v",
		"jsonpath-as-json={.data}": "[\n    {\n        \"k\": \"v\",\n        \"n\": \"1\"\n    }\n]",
		"go-template={{range $k, $v := .data}}{{$k}}={{$v}} {{end}}": "k=v n=1",
		"custom-columns=NAME:.metadata.name,K:.data.k":               "NAME   K\nc      v",
		"jsonpath-file=" + file("j", "{.data.n}"):                    "1",
		"go-template-file=" + file("g", "{{.data.n}}"):               "1",
		"custom-columns-file=" + file("c", "N\n.data.n"):             "N\n1",
	} {
		s.equal(form, s.kubectl("get", "configmap", "c", "-o", form), want)
	}
	s.contains("yaml", s.kubectl("get", "configmap", "c", "-o", "yaml"), "apiVersion: v1\ndata:\n  k: v\n  \"n\": \"1\"\nkind: ConfigMap\n")
	if strings.Contains(s.kubectl("get", "configmap", "c", "-o", "yaml"), "managedFields") {
		t.Error("managedFields are shown without being asked for")
	}
	s.contains("managed fields", s.kubectl("get", "configmap", "c", "-o", "yaml", "--show-managed-fields"), "managedFields", "manager: kubectl-create")
	s.contains("kyaml", s.kubectl("get", "configmap", "c", "-o", "kyaml"), `kind: "ConfigMap"`)
	s.contains("show kind", s.kubectl("get", "configmap", "--show-kind"), "configmap/c ")
	s.equal("sorted", s.kubectl("get", "configmap", "--sort-by={.metadata.name}", "-o", "name"), "configmap/c\nconfigmap/kube-root-ca.crt")
	s.refused([]string{"get", "configmap", "c", "-o", "jsonpath={.a"}, "error parsing jsonpath")
	s.refused([]string{"get", "configmap", "c", "-o", "fancy"}, "unable to match a printer suitable for the output format")
	s.contains("a client dry run", s.kubectl("create", "configmap", "x", "--dry-run=client", "-o", "yaml"), "name: x")
}

// TestEdit: an editor that fails, one that changes nothing, one that makes it invalid, and what it is shown then.
func TestEdit(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 1))
	edit := func(editor string) (string, error) {
		return s.node.Run(30*time.Second, "env", "KUBE_EDITOR="+editor, executable, "kubectl", "--kubeconfig", s.node.Kubeconfig(), "-n", s.name, "edit", "deployment", "web")
	}
	out, err := edit("true")
	if err != nil {
		t.Error(err)
	}
	s.contains("nothing changed", out, "Edit cancelled, no changes made")
	if out, err = edit("false"); err == nil {
		t.Errorf("an editor that fails: %s", out)
	}
	out, err = edit("sed -i -e s/replicas:.1/replicas:\\ 2/")
	if err != nil {
		t.Error(out, err)
	}
	s.equal("edited", s.get("deployment/web", ".spec.replicas"), "2")
	// The second time the editor is shown the error, changes nothing, and the edit is given up.
	out, err = edit("sed -i -e s/replicas:.2/replicas:\\ -2/")
	if err == nil {
		t.Errorf("an invalid edit: %s", out)
	}
	s.contains("an invalid edit", out, `deployments.apps "web" is invalid`, "A copy of your changes has been stored to", "Edit cancelled, no valid changes were saved")
	s.equal("unchanged", s.get("deployment/web", ".spec.replicas"), "2")
}

// TestSet: what set, debug, create, label and annotate do beyond the plainest case.
func TestSet(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 1) + shell("a", sleeper))
	// Pods may come meanwhile, but none goes: nothing is rolled out yet.
	s.contains("label all", s.kubectl("label", "pods", "--all", "seen=yes"), "pod/a labeled")
	s.equal("labelled", s.kubectl("get", "pods", "-l", "seen=yes,app=a", "-o", "name"), "pod/a")
	s.kubectl("set", "env", "deployment/web", "A=1", "B-")
	s.kubectl("set", "resources", "deployment/web", "--limits=memory=64Mi", "--requests=cpu=10m")
	s.kubectl("set", "serviceaccount", "deployment/web", "default")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.equal("set env", s.get("deployment/web", ".spec.template.spec.containers[0].env[0].value"), "1")
	s.equal("set resources", s.get("deployment/web", ".spec.template.spec.containers[0].resources.limits.memory"), "64Mi")
	s.contains("list env", s.kubectl("set", "env", "deployment/web", "--list"), "A=1")
	s.ready("a")
	s.kubectl("debug", "a", "--image="+busybox, "-c", "dbg", "--", "sh", "-c", "echo from the debugger; sleep 1000")
	s.eventually("the debugger's log", func() error {
		out, err := s.tryKubectl("logs", "a", "-c", "dbg")
		if err == nil && !strings.Contains(out, "from the debugger") {
			err = os.ErrNotExist
		}
		return err
	})
	s.contains("all containers", s.kubectl("logs", "a", "--all-containers", "--prefix"), "[pod/a/dbg]")
	s.kubectl("annotate", "pod", "a", "note=one")
	s.kubectl("annotate", "pod", "a", "note=two", "--overwrite")
	s.kubectl("create", "token", "default", "--duration=10m")
	s.kubectl("create", "quota", "q", "--hard=pods=10")
	s.kubectl("create", "service", "nodeport", "np", "--tcp=80:80")
	s.kubectl("create", "cronjob", "cj", "--schedule=0 0 * * *", "--image="+busybox, "--", "true")
	s.kubectl("create", "ingress", "in", "--rule=example.com/*=np:80")
	s.contains("explain says what is wrong", func() string { out, _ := s.tryKubectl("explain", "pod.spec.colour"); return out }(), `field "colour" does not exist`)
	s.contains("events of warnings only", s.kubectl("events", "--types=Warning")+".", ".")
}

// TestManifests: folders, several documents, kustomizations, prune, and a manifest of which one part is wrong.
func TestManifests(t *testing.T) {
	s := newSpace(t)
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one := func(name string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", labels: {set: e2e}}\n"
	}
	put("all/a.yaml", one("a")+"---\n"+one("b"))
	put("all/deep/c.json", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","labels":{"set":"e2e"}}}`)
	s.contains("a folder", s.kubectl("apply", "-R", "-f", filepath.Join(dir, "all")), "configmap/a created", "configmap/b created", "configmap/c created")
	put("all/a.yaml", one("a"))
	s.contains("prune", s.kubectl("apply", "-R", "-f", filepath.Join(dir, "all"), "--prune", "-l", "set=e2e", "--prune-allowlist=core/v1/ConfigMap"), "configmap/a unchanged", "configmap/b pruned")
	put("k/kustomization.yaml", "resources: [d.yaml]\nnamePrefix: pre-\nconfigMapGenerator: [{name: gen, literals: [a=1]}]\n")
	put("k/d.yaml", one("d"))
	s.contains("kustomize", s.kubectl("apply", "-k", filepath.Join(dir, "k")), "configmap/pre-d created", "configmap/pre-gen-")
	put("half/x.yaml", one("good")+"---\n"+one("Not_Good")+"---\n"+one("also-good"))
	out, err := s.tryKubectl("apply", "-f", filepath.Join(dir, "half"))
	if err == nil {
		t.Error("a wrong document is no error")
	}
	s.contains("one of three is wrong", out, "configmap/good created", `The ConfigMap "Not_Good" is invalid: metadata.name: Invalid value`, "configmap/also-good created")
	out, _ = s.tryKubectl("apply", "-f", filepath.Join(dir, "nothing"))
	s.contains("no such file", out, "does not exist")
}
