package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type objects map[string]map[string]string

func (o objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if d, ok := o[name]; ok {
		return &corev1.ConfigMap{Data: d}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (o objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	d, ok := o[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
	}
	s := &corev1.Secret{Data: map[string][]byte{}}
	for k, v := range d {
		s.Data[k] = []byte(v)
	}
	return s, nil
}

func (o objects) Token(context.Context, *corev1.Pod, string, int64) (string, time.Time, error) {
	return "token", time.Unix(1000, 0), nil
}

func (o objects) TrustAnchors(context.Context, *corev1.ClusterTrustBundleProjection) ([]byte, error) {
	return []byte("anchors"), nil
}

func (o objects) Certificate(context.Context, *corev1.Pod, string, int, *corev1.PodCertificateProjection) (key, chain []byte, refresh time.Time, err error) {
	return []byte("key\n"), []byte("chain\n"), time.Unix(500, 0), nil
}

func root(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts and changes owners")
	}
}

func isMount(path string) bool {
	points, _ := mountPoints()
	return slices.Contains(points, path)
}

func newManager(t *testing.T, o objects) *Manager {
	t.Helper()
	root(t)
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := UnmountAll(dir); err != nil {
			t.Error(err)
		}
	})
	return New(Config{Dir: filepath.Join(dir, "disk"), Memory: filepath.Join(dir, "mem"), Objects: o})
}

func podWith(vs ...corev1.Volume) *corev1.Pod {
	p := &corev1.Pod{}
	p.UID, p.Namespace, p.Name = "u1", "default", "p"
	p.Spec.Volumes = vs
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	for _, v := range vs {
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	return p
}

func configMap(name string, items ...corev1.KeyToPath) corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Items: items}}}
}

func TestUpdatesAreSeenWhole(t *testing.T) {
	o := objects{"conf": {"a": "1", "b": "1"}}
	m := newManager(t, o)
	pod := podWith(configMap("conf"))
	got, err := m.SetUp(context.Background(), Input{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	dir := got.Volumes["v"].Path
	before, _ := os.Readlink(filepath.Join(dir, "..data"))
	if _, err := m.SetUp(context.Background(), Input{Pod: pod}); err != nil {
		t.Fatal(err)
	}
	if again, _ := os.Readlink(filepath.Join(dir, "..data")); again != before {
		t.Error("nothing changed, but the volume was written again")
	}
	stop, done := make(chan struct{}), make(chan string, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- ""
				return
			default:
			}
			data, err := os.Readlink(filepath.Join(dir, "..data"))
			if err != nil {
				done <- err.Error()
				return
			}
			a, err1 := os.ReadFile(filepath.Join(dir, data, "a"))
			b, err2 := os.ReadFile(filepath.Join(dir, data, "b"))
			if err1 == nil && err2 == nil && string(a) != string(b) {
				done <- fmt.Sprintf("half an update: a=%s b=%s", a, b)
				return
			}
		}
	}()
	for i := range 50 {
		o["conf"] = map[string]string{"a": fmt.Sprint(i), "b": fmt.Sprint(i), fmt.Sprint("k", i): ""}
		if _, err := m.SetUp(context.Background(), Input{Pod: pod}); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if msg := <-done; msg != "" {
		t.Error(msg)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(names) != 5 { // a, b, k49, ..data, one directory
		t.Errorf("left in the volume: %q", names)
	}
	if err := m.TearDown("u1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the volume is still there")
	}
}

func TestItemsCannotEscape(t *testing.T) {
	m := newManager(t, objects{"conf": {"a": "1"}})
	for _, path := range []string{"../x", "/etc/x", "a/../../x", "..data", "", ".", "..x/y"} {
		_, err := m.SetUp(context.Background(), Input{Pod: podWith(configMap("conf", corev1.KeyToPath{Key: "a", Path: path}))})
		if err == nil || !strings.Contains(err.Error(), "invalid path") {
			t.Errorf("path %q: %v", path, err)
		}
	}
}

func TestMissingObjects(t *testing.T) {
	m := newManager(t, objects{"conf": {"a": "1"}})
	yes := true
	optional := configMap("none")
	optional.ConfigMap.Optional = &yes
	for want, v := range map[string]corev1.Volume{
		`MountVolume.SetUp failed for volume "v" : configmap "none" not found`:                      configMap("none"),
		`MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: z`: configMap("conf", corev1.KeyToPath{Key: "z", Path: "z"}),
		"": optional,
	} {
		_, err := m.SetUp(context.Background(), Input{Pod: podWith(v)})
		if got := fmt.Sprint(err); want != "" && got != want || want == "" && err != nil {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTokenAndGroup(t *testing.T) {
	root(t)
	m := newManager(t, objects{})
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}})
	gid, uid := int64(1234), int64(1000)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid, RunAsUser: &uid}
	got, err := m.SetUp(context.Background(), Input{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Refresh.Equal(time.Unix(1000, 0)) {
		t.Errorf("refresh %s", got.Refresh)
	}
	st, err := os.Stat(filepath.Join(got.Volumes["v"].Path, "token"))
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("token: %v, %v", st.Mode(), err)
	}
}

func TestSubPathStaysInside(t *testing.T) {
	root(t)
	m := newManager(t, objects{})
	vol := t.TempDir()
	outside := t.TempDir()
	os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600)
	os.Symlink(outside, filepath.Join(vol, "abs"))
	os.Symlink("../../../../../../../../.."+outside, filepath.Join(vol, "rel"))
	os.Symlink("/proc/self/root", filepath.Join(vol, "magic"))
	os.Symlink("inside", filepath.Join(vol, "fine"))
	os.Mkdir(filepath.Join(vol, "inside"), 0o755)
	os.WriteFile(filepath.Join(vol, "file"), []byte("f"), 0o644)
	for i, bad := range []string{"abs", "abs/secret", "rel", "rel/new", "magic", "magic/etc", "..", "inside/../../x"} {
		if got, err := m.SubPath("u1", "c", i, Volume{Path: vol}, bad); err == nil {
			t.Errorf("%s leads to %s", bad, got)
		}
	}
	for i, good := range []string{"inside", "fine", "new/deep", "file", "."} {
		got, err := m.SubPath("u1", "c", 100+i, Volume{Path: vol}, good)
		if err != nil || !isMount(got) {
			t.Errorf("%s: %s, %v", good, got, err)
		}
	}
	if err := m.TearDown("u1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(vol, "file")); err != nil {
		t.Errorf("tearing down reached into the volume: %v", err)
	}
}

func TestMemoryVolume(t *testing.T) {
	root(t)
	m := newManager(t, objects{})
	pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}})
	for range 2 {
		got, err := m.SetUp(context.Background(), Input{Pod: pod})
		if err != nil || !isMount(got.Volumes["v"].Path) {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if err := m.TearDown("u1"); err != nil {
		t.Fatal(err)
	}
	if err := m.TearDown("u1"); err != nil {
		t.Fatal(err)
	}
}

func TestHostPathTypes(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	os.WriteFile(file, nil, 0o644)
	for _, c := range []struct {
		path string
		t    corev1.HostPathType
		ok   bool
	}{{dir, corev1.HostPathDirectory, true}, {file, corev1.HostPathDirectory, false}, {file, corev1.HostPathFile, true}, {dir, corev1.HostPathFile, false},
		{dir + "/new", corev1.HostPathDirectoryOrCreate, true}, {dir + "/newf", corev1.HostPathFileOrCreate, true}, {"/dev/null", corev1.HostPathCharDev, true},
		{file, corev1.HostPathSocket, false}, {dir + "/../x", corev1.HostPathUnset, false}, {dir + "/none", corev1.HostPathDirectory, false}} {
		if err := checkHostPath(c.path, c.t); (err == nil) != c.ok {
			t.Errorf("%s as %q: %v", c.path, c.t, err)
		}
	}
}

func FuzzSafePath(f *testing.F) {
	for _, s := range []string{"a", "../a", "/a", "a/../b", "..data"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		if safePath(p) == nil && !filepath.IsLocal(p) {
			t.Errorf("%q is let through", p)
		}
	})
}
