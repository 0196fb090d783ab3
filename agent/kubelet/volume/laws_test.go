package volume

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// driverCase is one volume of a driver's kind.
type driverCase struct {
	volume corev1.Volume
	// writable: containers may write into it.
	writable bool
}

// cases has a volume of every driver that makes something; host is a directory of the host.
func cases(host string) map[string]driverCase {
	local := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "local"}}
	item := []corev1.DownwardAPIVolumeFile{{Path: "d/name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}
	key := []corev1.KeyToPath{{Key: "a", Path: "d/a"}}
	out := map[string]driverCase{
		"emptyDir":    {corev1.Volume{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, true},
		"nothing":     {corev1.Volume{}, true},
		"memory":      {corev1.Volume{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}}, true},
		"hostPath":    {corev1.Volume{VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host + "/hp"}}}, true},
		"local":       {corev1.Volume{VolumeSource: local}, true},
		"image":       {corev1.Volume{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "one"}}}, false},
		"layers":      {corev1.Volume{VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "two"}}}, false},
		"configMap":   {corev1.Volume{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "conf"}, Items: key}}}, false},
		"secret":      {corev1.Volume{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "conf"}}}, false},
		"downwardAPI": {corev1.Volume{VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: item}}}, false},
		"projected": {corev1.Volume{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}}, false},
	}
	for name, c := range out {
		c.volume.Name = "v"
		out[name] = c
	}
	return out
}

// hostWorld is a directory of the host with what the drivers of cases need.
func hostWorld(t *testing.T) (host string, cfg func(*Config)) {
	host = t.TempDir()
	t.Cleanup(func() { _ = UnmountAll(host) })
	for _, d := range []string{"local/sub", "layer1", "layer2", "hp"} {
		if err := os.MkdirAll(filepath.Join(host, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(host+"/local/file", nil, 0o600)
	os.WriteFile(host+"/layer1/file", nil, 0o600)
	return host, func(c *Config) {
		c.Claim = func(context.Context, string, string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
			pv := &corev1.PersistentVolume{}
			pv.Spec.Local = &corev1.LocalVolumeSource{Path: host + "/local"}
			return &corev1.PersistentVolumeClaim{}, pv, nil
		}
		c.Layers = func(_ context.Context, _ *corev1.Pod, s *corev1.ImageVolumeSource) ([]string, error) {
			if s.Reference == "one" {
				return []string{host + "/layer1"}, nil
			}
			return []string{host + "/layer1", host + "/layer2"}, nil
		}
	}
}

// TestDriverLaws: what SetUp promises of every driver.
func TestDriverLaws(t *testing.T) {
	names := cases("")
	for name := range names {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, objects{"conf": {"a": "1"}})
			host, configure := hostWorld(t)
			configure(&m.cfg)
			c := cases(host)[name]
			pod := podWith(c.volume)
			gid := int64(4321)
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid}
			in := Input{Pod: pod, Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}}
			setUp := func() Volume {
				t.Helper()
				got, err := m.SetUp(context.Background(), in)
				if err != nil {
					t.Fatal(err)
				}
				return got.Volumes["v"]
			}
			v := setUp()
			if v.ReadOnly == c.writable {
				t.Errorf("read-only: %v", v.ReadOnly)
			}
			file := filepath.Join(v.Path, "private")
			if c.writable { // the container makes a file that only its owner may read
				if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
				os.Chown(file, 77, 77)
				os.Chmod(v.Path, 0o700)
			}
			// A new daemon knows nothing and finds the same.
			m = New(m.cfg)
			if again := setUp(); again.Path != v.Path || again.ReadOnly != v.ReadOnly {
				t.Errorf("the second time: %+v, was %+v", again, v)
			}
			if c.writable {
				var f, d unix.Stat_t
				if unix.Stat(file, &f) != nil || f.Mode&0o7777 != 0o600 || f.Uid != 77 || f.Gid != 77 {
					t.Errorf("a file of the container was changed: %o %d:%d", f.Mode, f.Uid, f.Gid)
				}
				if unix.Stat(v.Path, &d) != nil || d.Mode&0o777 != 0o700 {
					t.Errorf("the volume's mode was changed again: %o", d.Mode)
				}
			}
			for range 2 {
				if err := m.TearDown(pod.UID); err != nil {
					t.Fatal(err)
				}
			}
			for _, dir := range []string{m.podDir(pod.UID) + "/volumes", m.memoryDir(pod.UID)} {
				if _, err := os.Lstat(dir); err == nil {
					t.Errorf("%s is still there", dir)
				}
			}
			for _, kept := range []string{"local/file", "layer1/file", "hp"} {
				if _, err := os.Stat(filepath.Join(host, kept)); err != nil {
					t.Errorf("tearing down reached into the host: %v", err)
				}
			}
		})
	}
}
