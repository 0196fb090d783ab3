package kubelet

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"codeberg.org/skiff/skiff/agent/kubelet/volume"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/runtime/container"
)

// rig is a kubelet with fakes at the edges of the host.
type rig struct {
	t      *testing.T
	k      *Kubelet
	rt     *fakeRuntime
	client kubernetes.Interface
	cfg    Config
	stop   func()
}

func newRig(t *testing.T, client kubernetes.Interface) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts tmpfs")
	}
	root := t.TempDir()
	r := &rig{t: t, rt: newFakeRuntime(), client: client}
	r.cfg = Config{NodeName: "n1", NodeIPs: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		Paths:   wellknown.Paths{Data: filepath.Join(root, "data"), Run: filepath.Join(root, "run"), Config: root, Log: filepath.Join(root, "log")},
		Runtime: r.rt, Images: newFakeImages(root), Network: &fakeNetwork{}, ClusterDNS: []string{"10.43.0.10"}, Version: "v0.1.0",
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: logLevel()}))}
	if client != nil {
		r.cfg.Client = client
	}
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
		}
		if err := volume.UnmountAll(root); err != nil {
			t.Error(err)
		}
	})
	return r
}

// logLevel is debug with SKIFF_TEST_DEBUG=1.
func logLevel() slog.Level {
	if os.Getenv("SKIFF_TEST_DEBUG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// start runs a new kubelet over the same runtime and directories.
func (r *rig) start() {
	r.t.Helper()
	k, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	r.k = k
	r.stop = func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				r.t.Error(err)
			}
		case <-time.After(time.Minute):
			r.t.Error("Run does not return")
		}
		r.stop = nil
	}
}

// eventually waits for a condition; the message says what was seen last.
func (r *rig) eventually(what string, ok func() (bool, any)) {
	r.t.Helper()
	var seen any
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var good bool
		if good, seen = ok(); good {
			return
		}
	}
	r.t.Fatalf("never: %s; last seen: %+v", what, seen)
}

// fakeServer makes the fake server give out resource versions that grow, as a real one does.
func fakeServer(objs ...runtime.Object) *fake.Clientset {
	c := fake.NewClientset(objs...)
	var n atomic.Int64
	bump := func(a k8stesting.Action) (bool, runtime.Object, error) {
		var o runtime.Object
		switch a := a.(type) {
		case k8stesting.UpdateActionImpl:
			o = a.Object
		case k8stesting.CreateActionImpl:
			o = a.Object
		}
		if m, ok := o.(metav1.Object); ok {
			m.SetResourceVersion(strconv.FormatInt(n.Add(1), 10))
		}
		return false, nil, nil
	}
	c.PrependReactor("update", "*", bump)
	c.PrependReactor("create", "*", bump)
	return c
}

func (r *rig) pod(name string) *corev1.Pod {
	p, err := r.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return p
}

func testPod(name string, edit func(*corev1.Pod)) *corev1.Pod {
	grace := int64(30)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name), Generation: 1, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace, DNSPolicy: corev1.DNSClusterFirst,
			Containers: []corev1.Container{{Name: "web", Image: "nginx", ImagePullPolicy: corev1.PullIfNotPresent, TerminationMessagePath: "/dev/termination-log"}}}}
	if edit != nil {
		edit(p)
	}
	return p
}

func (r *rig) create(p *corev1.Pod) {
	r.t.Helper()
	if _, err := r.client.CoreV1().Pods(p.Namespace).Create(context.Background(), p, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) running(name string) *corev1.Pod {
	r.t.Helper()
	var p *corev1.Pod
	r.eventually(name+" is Running and Ready", func() (bool, any) {
		p = r.pod(name)
		return p != nil && p.Status.Phase == corev1.PodRunning && condition(p, corev1.PodReady) == corev1.ConditionTrue, p
	})
	return p
}

func condition(p *corev1.Pod, t corev1.PodConditionType) corev1.ConditionStatus {
	for _, c := range p.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

func TestPodRunsAndGoes(t *testing.T) {
	r := newRig(t, fakeServer(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf", Namespace: "default"}, Data: map[string]string{"k": "v"}}))
	r.start()
	begun := time.Now()
	r.create(testPod("web", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "K", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Key: "k"}}},
			{Name: "BOTH", Value: "$(K) and $(IP) $$(K) $(NOT)"}}
		c.Args = []string{"-x", "$(K)"}
		p.Spec.Volumes = []corev1.Volume{{Name: "conf", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}}}},
			{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		c.VolumeMounts = []corev1.VolumeMount{{Name: "conf", MountPath: "/conf"}, {Name: "tmp", MountPath: "/tmp", SubPath: "a/b"}}
	}))
	p := r.running("web")
	t.Logf("create → Running: %s", time.Since(begun))
	s := p.Status
	cs := s.ContainerStatuses[0]
	if s.PodIP != "10.42.0.1" || s.HostIP != "192.0.2.1" || s.QOSClass != corev1.PodQOSBestEffort || s.StartTime == nil || !strings.HasPrefix(cs.ContainerID, "skiff://") ||
		cs.RestartCount != 0 || !*cs.Started || cs.State.Running == nil {
		t.Errorf("status: %+v", s)
	}
	if cs.User == nil || cs.User.Linux.UID != 101 || cs.User.Linux.GID != 102 || !slices.Equal(cs.User.Linux.SupplementalGroups, []int64{102, 200}) {
		t.Errorf("user: %+v", cs.User)
	}
	sb := r.rt.List()[0]
	spec := sb.Containers[0].Spec
	if !slices.Contains(spec.Env, "BOTH=v and 10.42.0.1 $(K) $(NOT)") || !slices.Contains(spec.Env, "FROM=image") || !slices.Contains(spec.Env, "HOSTNAME=web") {
		t.Errorf("env: %q", spec.Env)
	}
	if !slices.Equal(spec.Args, []string{"/app", "-x", "v"}) {
		t.Errorf("args: %q", spec.Args)
	}
	for _, m := range spec.Mounts {
		if _, err := os.Stat(m.Source); err != nil {
			t.Errorf("mount %+v: %v", m, err)
		}
	}
	conf := mountAt(spec, "/conf")
	if data, err := os.ReadFile(filepath.Join(conf, "k")); err != nil || string(data) != "v" {
		t.Errorf("config map volume: %q, %v", data, err)
	}
	hosts, _ := os.ReadFile(mountAt(spec, "/etc/hosts"))
	if !strings.HasPrefix(string(hosts), "# Kubernetes-managed hosts file.\n") || !strings.Contains(string(hosts), "10.42.0.1\tweb\n") {
		t.Errorf("hosts: %s", hosts)
	}
	resolv, _ := os.ReadFile(mountAt(spec, "/etc/resolv.conf"))
	if !strings.HasPrefix(string(resolv), "search default.svc.cluster.local svc.cluster.local cluster.local") || !strings.Contains(string(resolv), "nameserver 10.43.0.10\noptions ndots:5\n") {
		t.Errorf("resolv.conf: %s", resolv)
	}

	// A change of the config map is seen without a restart.
	cm, _ := r.client.CoreV1().ConfigMaps("default").Get(context.Background(), "conf", metav1.GetOptions{})
	cm.Data["k"] = "new"
	if _, err := r.client.CoreV1().ConfigMaps("default").Update(context.Background(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the volume shows the new value", func() (bool, any) {
		data, _ := os.ReadFile(filepath.Join(conf, "k"))
		return string(data) == "new", string(data)
	})

	// It crashes: restarted at once, with the end on record.
	r.rt.crash("web", 3)
	r.eventually("restarted", func() (bool, any) {
		p := r.pod("web")
		c := p.Status.ContainerStatuses[0]
		return c.RestartCount == 1 && c.State.Running != nil && c.LastTerminationState.Terminated != nil && c.LastTerminationState.Terminated.ExitCode == 3, c
	})
	r.rt.crash("web", 3)
	r.eventually("backs off", func() (bool, any) {
		c := r.pod("web").Status.ContainerStatuses[0]
		return c.State.Waiting != nil && c.State.Waiting.Reason == "CrashLoopBackOff" && strings.HasPrefix(c.State.Waiting.Message, "back-off 10s restarting failed container=web pod=web_default("), c
	})

	r.delete("web", 30)
	r.eventually("gone", func() (bool, any) { p := r.pod("web"); return p == nil, p })
	r.eventually("nothing is left", func() (bool, any) {
		left, _ := filepath.Glob(filepath.Join(r.cfg.Paths.Pods(), "*"))
		logs, _ := filepath.Glob(filepath.Join(r.cfg.Paths.Log, "*", "*"))
		mem, _ := filepath.Glob(filepath.Join(r.cfg.Paths.Run, "pods", "*"))
		all := append(append(left, logs...), mem...)
		return len(all) == 0 && len(r.rt.List()) == 0, all
	})
}

func mountAt(s container.ContainerSpec, dest string) string {
	for _, m := range s.Mounts {
		if m.Destination == dest {
			return m.Source
		}
	}
	return ""
}

// delete marks the pod as the server does for a graceful deletion.
func (r *rig) delete(name string, grace int64) {
	r.t.Helper()
	p := r.pod(name)
	at := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	p.Finalizers = nil
	if _, err := r.client.CoreV1().Pods("default").Update(context.Background(), p, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func TestRestartOfTheDaemonRestartsNothing(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("web", nil))
	r.running("web")
	r.rt.crash("web", 1)
	r.eventually("restarted", func() (bool, any) {
		return r.pod("web").Status.ContainerStatuses[0].RestartCount == 1, nil
	})
	before := r.running("web").Status
	r.stop()
	r.start()
	time.Sleep(200 * time.Millisecond)
	after := r.running("web").Status
	if n := len(r.rt.started); n != 2 {
		t.Errorf("%d starts, want 2", n)
	}
	if b, a := before.ContainerStatuses[0], after.ContainerStatuses[0]; b.ContainerID != a.ContainerID || a.RestartCount != 1 || before.PodIP != after.PodIP {
		t.Errorf("before %+v\nafter %+v", b, a)
	}
	r.rt.crash("web", 1)
	r.eventually("the back-off is remembered", func() (bool, any) {
		c := r.pod("web").Status.ContainerStatuses[0]
		return c.State.Waiting != nil && strings.HasPrefix(c.State.Waiting.Message, "back-off 10s"), c
	})
}

func TestMissingThingsWait(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("noimage", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "missing" }))
	r.create(testPod("nosecret", func(p *corev1.Pod) {
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}}}
	}))
	wait := func(name, reason, message string) {
		r.eventually(name+" waits with "+reason, func() (bool, any) {
			p := r.pod(name)
			if len(p.Status.ContainerStatuses) == 0 {
				return false, p.Status
			}
			w := p.Status.ContainerStatuses[0].State.Waiting
			return p.Status.Phase == corev1.PodPending && w != nil && w.Reason == reason && strings.Contains(w.Message, message), p.Status
		})
	}
	wait("noimage", "ErrImagePull", "not found")
	wait("noimage", "ImagePullBackOff", `Back-off pulling image "missing"`)
	wait("nosecret", "CreateContainerConfigError", `secret "s" not found`)
	if _, err := r.client.CoreV1().Secrets("default").Create(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.running("nosecret")
}

// TestNetworkComesLate: a pod that came before the network waits for the network, not for its back-off.
func TestNetworkComesLate(t *testing.T) {
	r := newRig(t, fakeServer())
	network := &fakeNetwork{down: errors.New("not ready")}
	r.cfg.Network = network
	r.start()
	r.create(testPod("early", nil))
	r.eventually("four tries fail", func() (bool, any) {
		network.mu.Lock()
		defer network.mu.Unlock()
		return network.refused == 4, network.refused
	})
	time.Sleep(500 * time.Millisecond) // the failure is noted after the try; the next one is due in 8 s
	network.mu.Lock()
	network.down = nil
	network.mu.Unlock()
	begun := time.Now()
	r.k.NodeChanged()
	r.running("early")
	if took := time.Since(begun); took > 6*time.Second {
		t.Errorf("running %s after the network came", took)
	}
}

func TestJobCompletes(t *testing.T) {
	r := newRig(t, fakeServer())
	r.rt.onStart = func(c *container.Container) {
		c.State, c.FinishedAt = container.Exited, time.Now()
		os.WriteFile(c.Spec.Labels[labelMessagePath], []byte("all good"), 0o644)
	}
	r.start()
	r.create(testPod("job", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "nginx"}, {Name: "second", Image: "nginx"}}
	}))
	r.eventually("succeeded", func() (bool, any) {
		p := r.pod("job")
		return p.Status.Phase == corev1.PodSucceeded && p.Status.ContainerStatuses[0].State.Terminated != nil, p.Status
	})
	st := r.pod("job").Status
	if m := st.ContainerStatuses[0].State.Terminated; m.Message != "all good" || m.Reason != "Completed" {
		t.Errorf("terminated: %+v", m)
	}
	if !slices.Equal(r.rt.started, []string{"first", "second", "web"}) {
		t.Errorf("started %q", r.rt.started)
	}
	r.eventually("the sandbox is stopped", func() (bool, any) { s := r.rt.List(); return len(s) == 1 && s[0].State == container.SandboxStopped, s })
}

func TestProbesAndHooks(t *testing.T) {
	r := newRig(t, fakeServer())
	r.rt.execCode = 1
	r.start()
	r.create(testPod("web", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"ready"}}}, PeriodSeconds: 1}
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"bye"}}}}
	}))
	r.eventually("running, not ready", func() (bool, any) {
		p := r.pod("web")
		return p.Status.Phase == corev1.PodRunning && condition(p, corev1.PodReady) == corev1.ConditionFalse, p.Status
	})
	r.rt.mu.Lock()
	r.rt.execCode = 0
	r.rt.mu.Unlock()
	r.running("web")
	r.delete("web", 5)
	r.eventually("gone", func() (bool, any) { return r.pod("web") == nil, nil })
	r.rt.mu.Lock()
	defer r.rt.mu.Unlock()
	if !slices.ContainsFunc(r.rt.execs, func(a []string) bool { return a[0] == "bye" }) {
		t.Errorf("preStop did not run: %q", r.rt.execs)
	}
}

func TestForceDeleteDuringGrace(t *testing.T) {
	r := newRig(t, fakeServer())
	r.rt.stubborn = true
	r.start()
	r.create(testPod("web", nil))
	r.running("web")
	r.delete("web", 60)
	time.Sleep(100 * time.Millisecond)
	if r.pod("web") == nil {
		t.Fatal("gone before its grace")
	}
	r.delete("web", 0)
	r.eventually("gone", func() (bool, any) { return r.pod("web") == nil, nil })
}

func TestRejects(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("huge", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10000")}
	}))
	r.create(testPod("sysctl", func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
	}))
	for name, reason := range map[string]string{"huge": "OutOfcpu", "sysctl": "SysctlForbidden"} {
		r.eventually(name+" fails with "+reason, func() (bool, any) {
			p := r.pod(name)
			return p.Status.Phase == corev1.PodFailed && p.Status.Reason == reason, p.Status
		})
	}
	if len(r.rt.List()) != 0 {
		t.Error("a rejected pod got a sandbox")
	}
}

func TestStaticPods(t *testing.T) {
	r := newRig(t, nil)
	dir := r.cfg.Paths.PodManifests()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, data string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const good = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: web, image: 'nginx:1'}]\n"
	write("bad.yaml", "}{")
	write("empty.yaml", "")
	write("service.yaml", "apiVersion: v1\nkind: Service\n")
	write("name.yaml", strings.Replace(good, "name: a", "name: A_B", 1))
	write("big.yaml", strings.Repeat("#", maxManifest+1))
	r.start()
	write("a.yaml", good)
	up := func(n int) {
		r.eventually("as many pods as files", func() (bool, any) {
			pods := r.k.Pods()
			return len(pods) == n && (n == 0 || pods[0].Status.Phase == corev1.PodRunning), pods
		})
	}
	up(1)
	if p := r.k.Pods()[0]; p.Name != "a-n1" || p.Namespace != "default" {
		t.Errorf("name %s/%s", p.Namespace, p.Name)
	}
	write("a.yaml", strings.Replace(good, "nginx:1", "nginx:2", 1))
	r.eventually("the new image runs", func() (bool, any) {
		l := r.rt.List()
		return len(l) == 1 && len(l[0].Containers) == 1 && l[0].Containers[0].Spec.ImageID == "sha256:nginx:2", l
	})
	os.Remove(filepath.Join(dir, "a.yaml"))
	up(0)
}

func TestOrphansAreRemoved(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("web", nil))
	p := r.running("web")
	r.stop()
	zero := int64(0)
	if err := r.client.CoreV1().Pods("default").Delete(context.Background(), "web", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.eventually("nothing is left", func() (bool, any) {
		_, err := os.Stat(filepath.Join(r.cfg.Paths.Pods(), string(p.UID)))
		return len(r.rt.List()) == 0 && err != nil, r.rt.List()
	})
}

func TestNodeRegisters(t *testing.T) {
	r := newRig(t, fakeServer())
	r.cfg.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}
	r.start()
	r.eventually("the node is Ready", func() (bool, any) {
		n, err := r.client.CoreV1().Nodes().Get(context.Background(), "n1", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return len(n.Spec.Taints) == 1 && n.Labels[wellknown.LabelHostname] == "n1" && n.Status.NodeInfo.KubeletVersion == "v1.37.2+skiff0.1.0", n
			}
		}
		return false, n
	})
	r.eventually("the lease is held", func() (bool, any) {
		l, err := r.client.CoordinationV1().Leases(leaseNamespace).Get(context.Background(), "n1", metav1.GetOptions{})
		return err == nil && *l.Spec.HolderIdentity == "n1", err
	})
}

func FuzzParseStatic(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers: [{name: web, image: 'nginx:1'}]\n"))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseStatic(data, "/x.yaml", "n1")
		if err == nil && (len(p.Spec.Containers) == 0 || p.UID == "" || p.Namespace == "") {
			t.Errorf("accepted: %+v", p)
		}
	})
}

// TestRebootWithoutServer: the machine lost power and reaches no server; it runs what it ran, from its own copies.
func TestRebootWithoutServer(t *testing.T) {
	server := fakeServer(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "conf", Namespace: "default"}, Data: map[string]string{"k": "v"}})
	r := newRig(t, server)
	r.start()
	r.create(testPod("web", func(p *corev1.Pod) {
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "K", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Key: "k"}}}}
	}))
	r.create(testPod("done", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	r.running("web")
	r.running("done")
	r.rt.crash("web", 1)
	r.eventually("restarted", func() (bool, any) {
		c := r.pod("web").Status.ContainerStatuses[0]
		return c.RestartCount == 1 && c.Ready, c
	})
	r.stop()
	r.rt.mu.Lock()
	r.rt.sandboxes = map[string]*container.Sandbox{}
	r.rt.started = nil
	r.rt.mu.Unlock()
	server.PrependReactor("*", "*", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	server.PrependWatchReactor("*", func(k8stesting.Action) (bool, watch.Interface, error) {
		return true, nil, errors.New("connection refused")
	})
	r.start()
	r.eventually("the pod runs again", func() (bool, any) {
		for _, s := range r.rt.List() {
			if len(s.Containers) > 0 && slices.Contains(s.Containers[0].Spec.Env, "K=v") && s.Containers[0].Spec.Attempt == 2 {
				return true, nil
			}
		}
		return false, r.rt.List()
	})
	for _, p := range r.k.Pods() {
		if p.Name == "done" && p.Status.Phase != corev1.PodFailed {
			t.Errorf("a pod that is never restarted is %s", p.Status.Phase)
		}
	}
}
