package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// layered makes an image of one layer with these entries.
func layered(t testing.TB, entries ...tar.Header) v1.Image {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		data := []byte("evil\n")
		if e.Typeflag != tar.TypeReg {
			data = nil
		}
		e.Size, e.Mode = int64(len(data)), 0o755
		if err := w.WriteHeader(&e); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(data)
	}
	_ = w.Close()
	return oneLayer(t, buf.Bytes())
}

func oneLayer(t testing.TB, data []byte) v1.Image {
	t.Helper()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	base, err := mutate.Config(empty.Image, v1.Config{Cmd: []string{"/nothing"}})
	if err != nil {
		t.Fatal(err)
	}
	base, err = mutate.AppendLayers(base, layer)
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// waiting waits until a container waits for a reason, and returns its message.
func (s *space) waiting(pod, reason string) (message string) {
	s.Helper()
	s.pod(pod, "waits: "+reason, func(p *corev1.Pod) bool {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil && strings.Contains(c.State.Waiting.Reason, reason) {
				message = c.State.Waiting.Message
				return true
			}
		}
		return false
	})
	return message
}

// TestEvilImages: layers that try to write outside their root write nothing there, whatever else becomes of them.
func TestEvilImages(t *testing.T) {
	s := own(t)
	h := startHub(s)
	if err := os.WriteFile(s.node.RegistriesFile(), []byte("mirrors:\n  "+h.host+":\n    endpoint: [http://"+h.host+"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.apply(shell("neighbour", sleeper))
	s.ready("neighbour")
	target := filepath.Join(s.node.Dir(), "target")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 30)
	images := map[string]v1.Image{
		"dots":     layered(t, tar.Header{Name: up + target[1:] + "/dots", Typeflag: tar.TypeReg}),
		"absolute": layered(t, tar.Header{Name: target + "/absolute", Typeflag: tar.TypeReg}),
		"symlink":  layered(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: target}, tar.Header{Name: "a/symlink", Typeflag: tar.TypeReg}),
		"relative": layered(t, tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: up + target[1:]}, tar.Header{Name: "a/relative", Typeflag: tar.TypeReg}),
		"hardlink": layered(t, tar.Header{Name: "passwd", Typeflag: tar.TypeLink, Linkname: up + "etc/passwd"}),
		"whiteout": layered(t, tar.Header{Name: up + target[1:] + "/.wh.kept", Typeflag: tar.TypeReg}),
	}
	if err := os.WriteFile(filepath.Join(target, "kept"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, image := range images {
		h.push(s, name+":v1", image)
		s.apply(strings.ReplaceAll(shell(name, "true"), busybox, h.host+"/"+name+":v1"))
	}
	for name := range images {
		// Either the pull is refused, or the entry landed inside, where there is no shell to run.
		s.eventually(name, func() error {
			pod, err := s.client.CoreV1().Pods(s.name).Get(s.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(pod.Status.ContainerStatuses) == 0 {
				return fmt.Errorf("phase %s", pod.Status.Phase)
			}
			c := pod.Status.ContainerStatuses[0]
			if w := c.State.Waiting; w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff" || w.Reason == "RunContainerError" || w.Reason == "CreateContainerError" || w.Reason == "CrashLoopBackOff") && w.Message != "" {
				t.Logf("%s: %s: %s", name, w.Reason, cut(w.Message))
				return nil
			}
			if e := c.State.Terminated; e != nil && e.ExitCode != 0 {
				t.Logf("%s: %s: %s", name, e.Reason, cut(e.Message))
				return nil
			}
			return fmt.Errorf("%+v", c.State)
		})
	}
	left, _ := filepath.Glob(filepath.Join(target, "*"))
	if len(left) != 1 || filepath.Base(left[0]) != "kept" {
		t.Errorf("outside of the root: %v", left)
	}
	s.equal("the neighbour", s.sh("neighbour", "echo well"), "well")
	s.equal("its restarts", s.get("pod/neighbour", ".status.containerStatuses[0].restartCount"), "0")
}

// TestEscapes: a path that leads out of a volume is refused with a reason in the pod's status, and nothing of the node is shown.
func TestEscapes(t *testing.T) {
	s := newSpace(t)
	escape := func(name, link, subPath string) string {
		return `
---
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
  - {name: make, image: ` + busybox + `, command: [sh, -c, '` + link + `'], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - {name: main, image: ` + busybox + `, command: [sh, -c, "cat /in/shadow /in; ls /in"], volumeMounts: [{name: v, mountPath: /in, subPath: ` + subPath + `}]}
`
	}
	s.apply(shell("neighbour", sleeper) + escape("absolute", "ln -s /etc /v/out", "out") + escape("dots", "ln -s ../../../../../../../../../../etc /v/out", "out") +
		escape("file", "ln -s /etc/shadow /v/out", "out") + escape("deep", "mkdir /v/a; ln -s /etc /v/a/b", "a/b"))
	s.ready("neighbour")
	for _, name := range []string{"absolute", "dots", "file", "deep"} {
		s.eventually(name, func() error {
			p, err := s.client.CoreV1().Pods(s.name).Get(s.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if len(p.Status.ContainerStatuses) == 0 {
				return fmt.Errorf("phase %s", p.Status.Phase)
			}
			state := p.Status.ContainerStatuses[0].State
			switch {
			case state.Waiting != nil && strings.Contains(state.Waiting.Message, "subPath"):
				t.Logf("%s: %s: %s", name, state.Waiting.Reason, state.Waiting.Message)
			case state.Terminated != nil:
				if out := s.logs(name); strings.Contains(out, "root:") || strings.Contains(out, "hostname") {
					t.Errorf("%s saw the node's files: %s", name, cut(out))
				}
			default:
				return fmt.Errorf("%+v", state)
			}
			return nil
		})
	}
	s.equal("the neighbour", s.sh("neighbour", "echo well"), "well")
}

// TestFullDisk: an image that does not fit says so in the pod's status; the node's other pods go on, and when there is room it runs.
func TestFullDisk(t *testing.T) {
	s := own(t)
	h := startHub(s)
	n2, err := s.box.Node("n2")
	if err != nil {
		t.Fatal(err)
	}
	if err := n2.SmallDisk(160); err != nil {
		t.Fatal(err)
	}
	if err := n2.Join(s.node, "--eviction-pressure-transition-period=1s"); err != nil {
		t.Fatal(err)
	}
	if err := s.node.WaitReady(patience, "n2"); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(n2.RegistriesFile()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n2.RegistriesFile(), []byte("mirrors:\n  "+h.host+":\n    endpoint: [http://"+h.host+"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := n2.Import(archives[0]); err != nil {
		t.Fatal(err)
	}
	s.apply(on("n2", shell("neighbour", sleeper)))
	s.ready("neighbour")
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	_ = w.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 200 << 20, Mode: 0o644})
	_, _ = io.CopyN(w, rand.Reader, 200<<20)
	_ = w.Close()
	h.push(s, "big:v1", oneLayer(t, buf.Bytes()))
	s.apply(on("n2", strings.ReplaceAll(shell("big", "true"), busybox, h.host+"/big:v1")))
	s.waiting("big", "ImagePull")
	s.eventually("the event", func() error {
		if out := s.kubectl("events", "--for", "pod/big"); !strings.Contains(out, "no space left on device") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	s.equal("the neighbour", s.sh("neighbour", "echo well"), "well")
	s.equal("its restarts", s.get("pod/neighbour", ".status.containerStatuses[0].restartCount"), "0")
	s.kubectl("delete", "pod", "big")
	s.apply(on("n2", shell("after", "echo ran")))
	if p := s.ended("after"); p.Status.Phase != corev1.PodSucceeded {
		t.Errorf("a pod after it: %+v", p.Status)
	}
}

// TestFullServerDisk: a server whose disk is full refuses writes with an error and in time, goes on reading, keeps what it
// acknowledged, and writes again when there is room.
func TestFullServerDisk(t *testing.T) {
	t.Parallel()
	s := ownSmall(t, 320)
	s.kubectl("create", "configmap", "before", "--from-literal=a=1")
	filler := filepath.Join(s.node.DataDir(), "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(f, rand.Reader)
	t.Logf("filled with %d MiB: %v", n>>20, err)
	_ = f.Close()
	acknowledged, refused := 0, error(nil)
	for i := 0; refused == nil && i < 400; i++ {
		_, refused = s.client.CoreV1().ConfigMaps(s.name).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("big-%d", i)},
			Data: map[string]string{"a": strings.Repeat("x", 512<<10)}}, metav1.CreateOptions{})
		if refused == nil {
			acknowledged++
		}
	}
	if refused == nil || !strings.Contains(refused.Error(), "is full") {
		t.Fatalf("after %d writes: %v", acknowledged, refused)
	}
	s.kubectl("delete", "configmap", "kube-root-ca.crt")
	s.equal("reads", s.get("configmap/before", ".data.a"), "1")
	time.Sleep(65 * time.Second) // a commit of the backend falls into it
	s.equal("ready", s.kubectl("get", "--raw", "/readyz"), "ok")
	s.kubectl("get", "node", "n1")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.eventually("a write when there is room again", func() error {
		_, err := s.tryKubectl("create", "configmap", "after")
		if err != nil && strings.Contains(err.Error(), "AlreadyExists") {
			err = nil
		}
		return err
	})
	out := s.kubectl("get", "configmaps", "-o", "name")
	if have := strings.Count(out, "configmap/big-"); have < acknowledged {
		t.Errorf("%d of %d acknowledged writes are there", have, acknowledged)
	}
}
