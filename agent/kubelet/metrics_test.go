package kubelet

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

var updateMetrics = flag.Bool("update", false, "rewrite the list of metrics in testdata")

// observed is a kubelet that has run a pod with everything that metrics tell of.
func observed(t *testing.T) *rig {
	r := newRig(t, fakeServer())
	r.cfg.LayerUsage = func(string) (int64, int64, error) { return 4096, 3, nil }
	for _, dir := range []string{r.cfg.Paths.Images(), r.cfg.Paths.Snapshots()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.create(testPod("web", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "disk", MountPath: "/disk"}, {Name: "memory", MountPath: "/memory"}}
		p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	}))
	r.running("web")
	r.k.counts.evictions.WithLabelValues("memory.available").Inc()
	r.k.counts.rejections.WithLabelValues("OutOfcpu").Inc()
	r.k.counts.runtime("exec_sync", r.k.started, fmt.Errorf("an error"))
	r.k.counts.sandboxErrs.WithLabelValues("").Inc()
	r.k.counts.startErrs.WithLabelValues("container", "RunContainerError").Inc()
	r.k.counts.imagesGone.WithLabelValues("space").Inc()
	return r
}

// TestMetricNames holds the names, kinds and labels of everything that is shown: dashboards and alerts of other people depend on them.
func TestMetricNames(t *testing.T) {
	r := observed(t)
	r.k.counts.httpRequests.WithLabelValues("GET", "metrics", "readwrite", "false").Inc()
	r.k.counts.httpTook.WithLabelValues("GET", "metrics", "readwrite", "false").Observe(1)
	r.k.counts.httpInFlight.WithLabelValues("GET", "metrics", "readwrite", "false").Set(0)
	p := newPage()
	volumeRows(p, &statsapi.VolumeStats{PVCRef: &statsapi.PVCReference{Name: "c", Namespace: "d"}, FsStats: statsapi.FsStats{CapacityBytes: new(uint64(1)), AvailableBytes: new(uint64(1)),
		UsedBytes: new(uint64(1)), Inodes: new(uint64(1)), InodesFree: new(uint64(1)), InodesUsed: new(uint64(1))}}, map[string]bool{})
	var out strings.Builder
	for _, path := range []string{"", "/cadvisor", "/resource", "/probes"} {
		var page bytes.Buffer
		if err := (view{r.k}).Metrics(t.Context(), &page, path); err != nil {
			t.Fatal(err)
		}
		if path == "" {
			page.WriteString(p.String())
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(&page)
		if err != nil {
			t.Fatalf("/metrics%s: %v", path, err)
		}
		out.WriteString("# /metrics" + path + "\n")
		for _, line := range describe(families) {
			out.WriteString(line + "\n")
		}
	}
	const file = "testdata/metrics.txt"
	if *updateMetrics {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != out.String() {
		t.Errorf("got:\n%s", out.String())
	}
}

// describe families as "name kind label,label", a line for each set of labels.
func describe(families map[string]*dto.MetricFamily) (out []string) {
	for name, f := range families {
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") || strings.HasPrefix(name, "rest_client_") || name == "kubernetes_build_info" {
			continue // of libraries, and only when there was something to count
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName())
			}
			slices.Sort(labels)
			out = append(out, strings.TrimSpace(name+" "+strings.ToLower(f.GetType().String())+" "+strings.Join(labels, ",")))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestSummary(t *testing.T) {
	r := observed(t)
	s := view{r.k}.Summary(t.Context(), false)
	if len(s.Pods) != 1 || len(s.Pods[0].Containers) != 1 {
		t.Fatalf("%+v", s.Pods)
	}
	p, c, n := s.Pods[0], s.Pods[0].Containers[0], s.Node
	switch {
	case n.CPU == nil || n.Memory == nil || n.Swap == nil || n.Fs == nil || n.Runtime == nil || n.Runtime.ImageFs == nil || n.Runtime.ContainerFs == nil || n.Rlimit == nil || len(n.SystemContainers) != 2:
		t.Errorf("node: %+v", n)
	case p.CPU == nil || p.Memory == nil || p.Swap == nil || p.Network == nil || p.Network.Name != "eth0" || p.ProcessStats == nil || len(p.VolumeStats) != 2 || p.EphemeralStorage == nil:
		t.Errorf("pod: %+v", p)
	case c.Rootfs == nil || *c.Rootfs.UsedBytes != 4096 || *c.Rootfs.InodesUsed != 3 || c.Logs == nil || c.Logs.UsedBytes == nil || *c.Memory.AvailableBytes != 63<<20:
		t.Errorf("container: %+v", c)
	case *p.EphemeralStorage.UsedBytes < 4096:
		t.Errorf("ephemeral storage: %d", *p.EphemeralStorage.UsedBytes)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
	if s = (view{r.k}).Summary(t.Context(), true); s.Node.Fs != nil || s.Pods[0].VolumeStats != nil || s.Pods[0].Containers[0].Rootfs != nil || s.Pods[0].CPU == nil {
		t.Errorf("only CPU and memory: %+v", s)
	}
}

// TestCountsOfPodsThatAreGone: memory does not grow with the pods that there have been.
func TestCountsOfPodsThatAreGone(t *testing.T) {
	r := observed(t)
	r.eventually("the probe is counted", func() (bool, any) { return len(r.k.probes.Counts()) > 0, nil })
	view{r.k}.Summary(t.Context(), true)
	r.delete("web", 1)
	r.eventually("nothing is counted of it", func() (bool, any) {
		r.k.mu.Lock()
		rates := len(r.k.cpu)
		r.k.mu.Unlock()
		return len(r.k.probes.Counts()) == 0 && rates <= 3, rates // of the node, of all pods, of this process
	})
}
