package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/jsonpath"

	"codeberg.org/skiff/skiff/scripts/testbox"
)

// patience is how long anything may take on a busy machine: this project builds on ones that are a tenth as fast as a desk's.
const patience = 3 * time.Minute

// inTime is patience as a flag of kubectl.
const inTime = "--timeout=3m"

// space is a namespace of a cluster that one test has for itself.
type space struct {
	testing.TB
	*cluster
	name string
}

// newSpace makes a namespace on the shared cluster, and lets the test run beside others.
func newSpace(t *testing.T) *space {
	t.Helper()
	t.Parallel()
	return shared.space(t)
}

// own is a cluster for one test, which may break it.
func own(t *testing.T, flags ...string) *space {
	t.Helper()
	c, err := newCluster("n1", flags...)
	if err != nil {
		t.Fatal(err)
	}
	c.closeWith(t)
	return c.space(t)
}

// ownSmall is a cluster for one test, whose data directory is a filesystem of so many MiB.
func ownSmall(t *testing.T, mib int) *space {
	t.Helper()
	box, err := testbox.New(executable)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{box: box}
	c.closeWith(t)
	if c.node, err = box.Node("n1"); err == nil {
		err = c.node.SmallDisk(mib)
	}
	if err == nil {
		err = c.start(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.space(t)
}

// closeWith ends the cluster with the test; something left behind is a failure.
func (c *cluster) closeWith(t *testing.T) {
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range c.box.Nodes() {
				log, _ := os.ReadFile(n.LogFile())
				t.Logf("%s:\n%s", n.Name, tail(string(log), 60))
			}
		}
		if err := c.box.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (c *cluster) space(t testing.TB) *space {
	t.Helper()
	ns, err := c.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := &space{TB: t, cluster: c, name: ns.Name}
	t.Cleanup(func() {
		if t.Failed() {
			s.tell()
		}
		zero := int64(0)
		_ = c.client.CoreV1().Pods(s.name).DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: &zero}, metav1.ListOptions{})
		_ = c.client.CoreV1().Namespaces().Delete(context.Background(), s.name, metav1.DeleteOptions{})
	})
	return s
}

// tell says what the namespace looks like after a failure.
func (s *space) tell() {
	for _, args := range [][]string{{"get", "pods,services,endpointslices", "-o", "wide"}, {"events"}} {
		out, _ := s.tryKubectl(args...)
		s.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// tryKubectl runs kubectl in the namespace.
func (s *space) tryKubectl(args ...string) (string, error) {
	return s.node.Kubectl(append([]string{"-n", s.name}, args...)...)
}

// kubectl runs kubectl in the namespace; it must succeed. Blanks around the output are cut off.
func (s *space) kubectl(args ...string) string {
	s.Helper()
	out, err := s.tryKubectl(args...)
	if err != nil {
		s.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// refused runs a kubectl command that must fail with all of the texts in its message.
func (s *space) refused(args []string, texts ...string) {
	s.Helper()
	out, err := s.tryKubectl(args...)
	if err == nil {
		s.Errorf("kubectl %s succeeded: %s", strings.Join(args, " "), out)
		return
	}
	s.contains("kubectl "+strings.Join(args, " "), out, texts...)
}

// input runs kubectl in the namespace with standard input.
func (s *space) input(stdin string, args ...string) (string, error) {
	return s.node.RunInput(2*time.Minute, stdin, executable, append([]string{"kubectl", "--kubeconfig", s.node.Kubeconfig(), "-n", s.name}, args...)...)
}

// apply applies manifests.
func (s *space) apply(manifest string) {
	s.Helper()
	if _, err := s.input(manifest, "apply", "-f", "-"); err != nil {
		s.Fatal(err)
	}
}

// contains checks a command's output.
func (s *space) contains(what, have string, texts ...string) {
	s.Helper()
	for _, text := range texts {
		if !strings.Contains(have, text) {
			s.Errorf("%s: no %q in\n%s", what, text, have)
		}
	}
}

func (s *space) equal(what, have, want string) {
	s.Helper()
	if have != want {
		s.Errorf("%s: %q, want %q", what, have, want)
	}
}

// get reads fields by a JSON path, e.g. get("pod/a", ".status.phase") or get("pods", ".items[*].metadata.name").
func (s *space) get(object, path string) string {
	s.Helper()
	have, err := s.field(object, path)
	if err != nil {
		s.Fatal(err)
	}
	return have
}

// field is `kubectl get -o jsonpath` without a process, of which many tests that wait would start too many.
func (s *space) field(what, path string) (string, error) {
	resource, name, _ := strings.Cut(what, "/")
	kind, err := s.mapper.KindFor(schema.ParseGroupResource(resource).WithVersion(""))
	if err != nil {
		return "", err
	}
	mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return "", err
	}
	client := dynamic.ResourceInterface(s.dynamic.Resource(mapping.Resource))
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		client = s.dynamic.Resource(mapping.Resource).Namespace(s.name)
	}
	object, err := contents(s.Context(), client, name)
	if err != nil {
		return "", err
	}
	find := jsonpath.New(path).AllowMissingKeys(true)
	if err := find.Parse("{" + path + "}"); err != nil {
		return "", err
	}
	var found strings.Builder
	err = find.Execute(&found, object)
	return strings.TrimSpace(found.String()), err
}

// contents of the object with this name, without a name of the list of all.
func contents(ctx context.Context, client dynamic.ResourceInterface, name string) (map[string]any, error) {
	if name == "" {
		list, err := client.List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		return list.UnstructuredContent(), nil
	}
	object, err := client.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return object.Object, nil
}

// eventually waits until f says nothing. It leaves the machine to others at least as long as f took.
func (s *space) eventually(what string, f func() error) {
	s.Helper()
	for end := time.Now().Add(patience); ; {
		start := time.Now()
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("%s: %v", what, err)
		}
		time.Sleep(max(100*time.Millisecond, time.Since(start)))
	}
}

// becomes waits until a field has a value.
func (s *space) becomes(object, path, want string) {
	s.Helper()
	s.eventually(object+" "+path, func() error {
		have, err := s.field(object, path)
		if err == nil && have != want {
			err = fmt.Errorf("%q, want %q", have, want)
		}
		return err
	})
}

// pod waits until a pod is as wanted and returns it.
func (s *space) pod(name, what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	s.Helper()
	var pod *corev1.Pod
	s.eventually("pod "+name+" "+what, func() (err error) {
		if pod, err = s.client.CoreV1().Pods(s.name).Get(s.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !ok(pod) {
			return fmt.Errorf("phase %s, containers %+v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return nil
	})
	return pod
}

// history is every state of a pod from now on, in order, so that a test may ask for one that passes.
type history struct {
	space *space
	watch.Interface
}

func (s *space) history(pod string) history {
	s.Helper()
	pods := s.client.CoreV1().Pods(s.name)
	list, err := pods.List(s.Context(), metav1.ListOptions{})
	if err != nil {
		s.Fatal(err)
	}
	w, err := pods.Watch(s.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion, FieldSelector: "metadata.name=" + pod})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(w.Stop)
	return history{s, w}
}

// until goes on to the next state that is as wanted.
func (h history) until(what string, ok func(*corev1.Pod) bool) *corev1.Pod {
	h.space.Helper()
	for end := time.After(patience); ; {
		select {
		case e := <-h.ResultChan():
			pod, isPod := e.Object.(*corev1.Pod)
			if !isPod {
				h.space.Fatalf("%s: the watch ended: %+v", what, e.Object)
			}
			if ok(pod) {
				return pod
			}
		case <-end:
			h.space.Fatalf("not seen in %v: %s", patience, what)
		}
	}
}

// ready waits until pods are Ready.
func (s *space) ready(names ...string) {
	s.Helper()
	for _, name := range names {
		s.pod(name, "Ready", isReady)
	}
}

// ended waits until a pod has ended and returns it.
func (s *space) ended(name string) *corev1.Pod {
	s.Helper()
	return s.pod(name, "ended", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// sh runs a shell line in a pod.
func (s *space) sh(pod, line string) string {
	s.Helper()
	return s.kubectl("exec", pod, "--", "sh", "-c", line)
}

// logs of a pod's first container.
func (s *space) logs(pod string) string {
	s.Helper()
	return s.kubectl("logs", pod)
}

// shell is the manifest of a pod that runs a shell line. fields are further lines of the container.
func shell(name, line string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
---
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %s}}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  containers:
  - name: main
    image: %s
    command: [sh, -c, %q]
`, name, name, busybox, line)
	for _, f := range fields {
		b.WriteString("    " + f + "\n")
	}
	return b.String()
}

// sleeper is a shell line that ends at once when it is asked to.
const sleeper = "trap 'exit 0' TERM; sleep 1000000 & wait"

// curl asks a URL from the node.
func (s *space) curl(args ...string) (string, error) { return curl(s.node, args...) }

func curl(n *testbox.Node, args ...string) (string, error) {
	return n.Run(patience, "curl", append([]string{"-sS", "-f", "--max-time", "5"}, args...)...)
}

// write creates or updates a ConfigMap with a number; false when the server did not acknowledge it.
func (s *space) write(name string, n int) bool {
	maps := s.client.CoreV1().ConfigMaps(s.name)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"n": fmt.Sprint(n)}}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if n == 1 {
		_, err := maps.Create(ctx, object, metav1.CreateOptions{})
		return err == nil
	}
	_, err := maps.Update(ctx, object, metav1.UpdateOptions{})
	return err == nil
}
