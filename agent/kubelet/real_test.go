package kubelet

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/agent/kubelet/httpapi"
	"codeberg.org/skiff/skiff/agent/podnet"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/snapshot"
)

const inNamespace = "SKIFF_TEST_NETNS"

// isolated runs the test in a network namespace of its own (and, as ip does it, a mount namespace). It says whether this
// is the process inside.
func isolated(t testing.TB) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes namespaces, cgroups and mounts")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("needs /bin/busybox (package busybox-static)")
	}
	ns := fmt.Sprintf("skiff-test-kubelet-%d", os.Getpid())
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		t.Skipf("needs network namespaces: %s", out)
	}
	defer exec.Command("ip", "netns", "del", ns).Run()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Not "ip netns exec": it hides the cgroups behind a /sys of its own.
	cmd := exec.Command("nsenter", "--net=/run/netns/"+ns, "unshare", "--mount", "--propagation=slave", self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("inside: %v", err)
	}
	return false
}

// realRig is a rig over the real runtime, images, snapshots and network.
type realRig struct {
	*rig
	manager *container.Manager
	conf    container.Config
	halt    func() // of the manager
}

func newRealRig(t *testing.T) *realRig {
	t.Helper()
	sh(t, "ip link set lo up; ip link add up0 type veth peer name up1; ip addr add 192.0.2.1/24 dev up0; ip link set up0 up; ip link set up1 up")
	r := &realRig{rig: newRig(t, fakeServer())}
	p := r.cfg.Paths
	images, err := image.Open(image.Config{Dir: p.Images(), Log: r.cfg.Log})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := images.Import(context.Background(), busyboxArchive(t)); err != nil {
		t.Fatal(err)
	}
	snaps, err := snapshot.Open(p.Snapshots(), images)
	if err != nil {
		t.Fatal(err)
	}
	network, err := podnet.New(podnet.Config{NodeName: "n1", NodeIPs: r.cfg.NodeIPs(), StateDir: filepath.Join(p.Data, "agent", "network"),
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, Log: r.cfg.Log})
	if err != nil {
		t.Fatal(err)
	}
	if err := network.Setup(context.Background(), []netip.Prefix{netip.MustParsePrefix("10.42.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	r.cfg.Images, r.cfg.Network = images, network
	r.cfg.ReadLogs = func(_ context.Context, w io.Writer, path string, _ httpapi.LogOptions) error {
		b, err := os.ReadFile(path)
		w.Write(b)
		return err
	}
	conf := container.Config{StateDir: p.Containers(), RunDir: filepath.Join(p.Run, "containers"), CgroupRoot: fmt.Sprintf("skiff-test-kubelet-%d", os.Getpid()), Snapshots: snaps, Logger: r.cfg.Log}
	r.conf = conf
	r.boot(conf)
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
		}
		for _, s := range r.manager.List() {
			r.manager.RemoveSandbox(context.Background(), s.Spec.ID)
		}
		r.halt()
		removeCgroups(conf.CgroupRoot)
	})
	return r
}

// boot opens the runtime anew and starts a kubelet over it, as a daemon that starts does.
func (r *realRig) boot(conf container.Config) {
	r.t.Helper()
	m, err := container.Open(conf)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	r.manager, r.cfg.Runtime = m, m
	r.halt = func() { cancel(); <-done }
	r.start()
}

func removeCgroups(root string) {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + root)
	for _, d := range append(dirs, "/sys/fs/cgroup/"+root) {
		var all []string
		filepath.WalkDir(d, func(p string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				all = append(all, p)
			}
			return nil
		})
		for _, p := range slices.Backward(all) {
			os.Remove(p)
		}
	}
}

func sh(t testing.TB, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %s", script, out)
	}
}

// busyboxArchive is a docker archive of busybox.
func busyboxArchive(t testing.TB) io.Reader {
	t.Helper()
	bin, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		w.Write(data)
	}
	for _, d := range []string{"bin/", "etc/", "tmp/", "www/", "proc/", "sys/", "dev/"} {
		add(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, bin)
	for _, a := range []string{"sh", "cat", "echo", "sleep", "httpd", "wget", "id", "kill", "ls", "hostname", "nslookup", "df", "stat", "readlink"} {
		add(&tar.Header{Name: "bin/" + a, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	add(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0::/:/bin/sh\n"))
	w.Close()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Cmd: []string{"/bin/sleep", "3600"}, Env: []string{"PATH=/bin"}})
	if err != nil {
		t.Fatal(err)
	}
	cf, _ := img.ConfigFile()
	cf = cf.DeepCopy()
	cf.Architecture, cf.OS = "amd64", "linux"
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tarball.Write(name.MustParseReference("busybox:test"), img, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func busybox(name string, edit func(*corev1.Pod), cmd ...string) *corev1.Pod {
	return testPod(name, func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = "busybox:test", cmd
		if edit != nil {
			edit(p)
		}
	})
}

func TestRealNode(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newRealRig(t)
	begun := time.Now()
	r.create(busybox("web", func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")}}, PeriodSeconds: 1, TimeoutSeconds: 1}
		c.Resources = corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi"), corev1.ResourceCPU: resource.MustParse("500m")}}
		p.Spec.Volumes = []corev1.Volume{{Name: "mem", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: resource.NewQuantity(1<<20, resource.BinarySI)}}},
			{Name: "me", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}}}}
		c.VolumeMounts = []corev1.VolumeMount{{Name: "mem", MountPath: "/www"}, {Name: "mem", MountPath: "/sub", SubPath: "x"}, {Name: "me", MountPath: "/me"}}
	}, "/bin/sh", "-c", "echo started; echo hi >/www/index.html; exec httpd -f -p 8080 -h /www"))
	p := r.running("web")
	t.Logf("create → Running and Ready: %s", time.Since(begun))
	if ip := p.Status.PodIP; !strings.HasPrefix(ip, "10.42.0.") {
		t.Errorf("pod IP %q", ip)
	}
	resp, err := http.Get("http://" + p.Status.PodIP + ":8080/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "hi\n" {
		t.Errorf("answer %q", body)
	}
	r.endpoint(p)

	// kill -9: restarted, with the count.
	syscall.Kill(r.manager.List()[0].Containers[0].PID, syscall.SIGKILL)
	r.eventually("restarted after kill -9", func() (bool, any) {
		c := r.pod("web").Status.ContainerStatuses[0]
		return c.RestartCount == 1 && c.Ready && c.LastTerminationState.Terminated != nil && c.LastTerminationState.Terminated.ExitCode == 137, c
	})

	// The daemon goes and comes: nothing is restarted.
	id := r.pod("web").Status.ContainerStatuses[0].ContainerID
	conf := r.conf
	r.stop()
	r.halt()
	r.boot(conf)
	time.Sleep(300 * time.Millisecond)
	if c := r.running("web").Status.ContainerStatuses[0]; c.ContainerID != id || c.RestartCount != 1 {
		t.Errorf("after a restart of the daemon: %+v", c)
	}

	begun = time.Now()
	r.delete("web", 1) // httpd as process 1 does not hear TERM
	r.eventually("gone", func() (bool, any) { return r.pod("web") == nil, r.pod("web") })
	t.Logf("delete → gone: %s", time.Since(begun))
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), "/pods/"+string(p.UID)) {
		t.Errorf("mounts are left behind:\n%s", mounts)
	}
}

// endpoint tries logs, exec and stats.
func (r *realRig) endpoint(p *corev1.Pod) {
	srv := httptest.NewServer(httpapi.New(httpapi.Config{Node: view{r.k}, Authorizer: anyone{}, ReadLogs: r.k.readLogs, Log: r.cfg.Log}))
	defer srv.Close()
	get := func(method, path string) string {
		req, _ := http.NewRequest(method, srv.URL+path, nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			r.t.Error(err)
			return ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(b))
	}
	for path, want := range map[string]string{
		"GET /containerLogs/default/web/web":                 "stdout F started",
		"POST /run/default/web/web?cmd=cat&cmd=/me/labels":   `app="web"`,
		"POST /run/default/web/web?cmd=hostname":             "200 web",
		"POST /run/default/web/web?cmd=df&cmd=/www":          "1024",
		"POST /run/default/web/web?cmd=cat&cmd=/etc/hosts":   p.Status.PodIP + "\tweb",
		"POST /run/default/web/web?cmd=sh&cmd=-c&cmd=exit+3": "exit code 3",
		"GET /containerLogs/default/web/none":                "404",
		"GET /containerLogs/default/none/web":                "404",
		"GET /containerLogs/default/web/web?tailLines=x":     "422",
		"GET /pods":             `"name":"web"`,
		"GET /stats/summary":    `"workingSetBytes"`,
		"GET /metrics/resource": `container_memory_working_set_bytes{container="web",namespace="default",pod="web"}`,
		"GET /metrics/probes":   `probe_type="Readiness",result="successful"`,
		"GET /metrics/cadvisor": "container_cpu_usage_seconds_total",
		"GET /configz":          "kubeletconfig",
		"GET /healthz":          "ok",
		"GET /containerLogs/default/web/web?previous=true&tailLines=1": "not found",
	} {
		m, u, _ := strings.Cut(path, " ")
		if got := get(m, u); !strings.Contains(got, want) {
			r.t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

type anyone struct{}

func (anyone) Authorize(*http.Request, httpapi.Attributes) error { return nil }

// TestRealLatency measures create → Running one at a time, and 20 pods at once.
func TestRealLatency(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newRealRig(t)
	var took []time.Duration
	for i := range 15 {
		n := fmt.Sprint("p", i)
		begun := time.Now()
		r.create(busybox(n, nil, "/bin/sleep", "3600"))
		w := r.watchRunning(n)
		took = append(took, w.Sub(begun))
	}
	slices.Sort(took)
	t.Logf("create → Running, one at a time: p50 %s, max %s", took[len(took)/2], took[len(took)-1])
	begun := time.Now()
	for i := range 20 {
		r.create(busybox(fmt.Sprint("q", i), nil, "/bin/sleep", "3600"))
	}
	for i := range 20 {
		r.watchRunning(fmt.Sprint("q", i))
	}
	t.Logf("20 at once: %s", time.Since(begun))
	begun = time.Now()
	for i := range 20 {
		r.delete(fmt.Sprint("q", i), 0)
	}
	r.eventually("all gone", func() (bool, any) {
		l, _ := r.client.CoreV1().Pods("default").List(context.Background(), metav1.ListOptions{})
		return len(l.Items) == 15, len(l.Items)
	})
	t.Logf("20 deleted: %s", time.Since(begun))
}

func (r *realRig) watchRunning(name string) time.Time {
	var at time.Time
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if p := r.pod(name); p != nil && p.Status.Phase == corev1.PodRunning {
			return time.Now()
		}
	}
	r.t.Fatalf("%s does not run: %+v", name, r.pod(name).Status)
	return at
}
