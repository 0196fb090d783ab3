package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/internal/beneath"
)

func mustSetUp(t *testing.T, m *Manager, in Input) Volume {
	t.Helper()
	got, err := m.SetUp(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	return got.Volumes["v"]
}

func statOf(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return st
}

func withGroup(pod *corev1.Pod, gid int64) *corev1.Pod {
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: &gid}
	return pod
}

// TestSubPathIsAsTheVolume: a directory that a subPath makes has mode and group of the volume, whatever the daemon's umask is.
func TestSubPathIsAsTheVolume(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for _, medium := range []corev1.StorageMedium{"", corev1.StorageMediumMemory} {
		for _, gid := range []int64{0, 4321} {
			m := newManager(t, objects{})
			pod := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium}}})
			want := uint32(0o777)
			if gid != 0 {
				withGroup(pod, gid)
				want |= unix.S_ISGID
			}
			v := mustSetUp(t, m, Input{Pod: pod})
			got, err := m.SubPath("u1", "c", 0, v, "a/b")
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{v.Path, v.Path + "/a", v.Path + "/a/b", got} {
				if st := statOf(t, path); st.Mode&0o7777 != want || st.Gid != uint32(gid) {
					t.Errorf("medium %q, group %d: %s has %o and group %d", medium, gid, path, st.Mode&0o7777, st.Gid)
				}
			}
		}
	}
}

func TestMemorySize(t *testing.T) {
	quantity := func(s string) *resource.Quantity {
		if s == "" {
			return nil
		}
		q := resource.MustParse(s)
		return &q
	}
	for _, c := range []struct{ limit, pod, node, want string }{
		{"", "64Mi", "1Gi", "64Mi"}, {"10Mi", "64Mi", "1Gi", "10Mi"}, {"100Mi", "64Mi", "1Gi", "64Mi"}, {"", "", "1Gi", "1Gi"}, {"2Gi", "", "1Gi", "1Gi"}, {"0", "", "1Gi", "1Gi"}, {"", "", "", "0"},
	} {
		pod := podWith()
		if c.pod != "" {
			pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: *quantity(c.pod)}
		}
		in := Input{Pod: pod}
		if c.node != "" {
			in.Allocatable = corev1.ResourceList{corev1.ResourceMemory: *quantity(c.node)}
		}
		if got := memorySize(in, quantity(c.limit)); got != quantity(c.want).Value() {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestAPIVolumesAreBounded: what a pod's API volumes take is bounded, and counted.
func TestAPIVolumesAreBounded(t *testing.T) {
	big := strings.Repeat("x", leastMemory/2)
	m := newManager(t, objects{"conf": {"a": big, "b": big, "c": big}, "fits": {"a": big}})
	pod := podWith(configMap("conf"))
	if _, err := m.SetUp(context.Background(), Input{Pod: pod}); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("three halves: %v", err)
	}
	if _, err := m.SetUp(context.Background(), Input{Pod: podWith(configMap("fits"))}); err != nil {
		t.Fatalf("what was half written stayed: %v", err)
	}
	if n := m.MemoryUse("u1"); n < leastMemory/2 || n > leastMemory {
		t.Errorf("%d bytes are counted", n)
	}
}

// TestMountPointsStay: an update of the files keeps the places where containers mount other things, and hides what has their name.
func TestMountPointsStay(t *testing.T) {
	o := objects{"conf": {"a": "1", "y": "hidden", "gone": "1"}}
	m := newManager(t, o)
	pod := podWith(configMap("conf"))
	v := mustSetUp(t, m, Input{Pod: pod})
	for _, name := range []string{"y", "deep/er"} {
		if err := MountPoint(v, v.Path, name, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := MountPoint(v, v.Path, "..data/x", true); err == nil {
		t.Error("a mount point among the files")
	}
	o["conf"] = map[string]string{"a": "2", "y": "hidden"}
	mustSetUp(t, m, Input{Pod: pod})
	if data, _ := os.ReadFile(v.Path + "/a"); string(data) != "2" {
		t.Errorf("a is %q", data)
	}
	for _, name := range []string{"y", "deep/er"} {
		if st := statOf(t, filepath.Join(v.Path, name)); st.Mode&unix.S_IFMT != unix.S_IFDIR {
			t.Errorf("%s is no directory any more", name)
		}
	}
	if _, err := os.Lstat(v.Path + "/gone"); err == nil {
		t.Error("a removed key is still there")
	}
}

// TestOwnStaysInside: giving a volume to a group changes no file outside of it, and the whole volume inside.
func TestOwnStaysInside(t *testing.T) {
	root(t)
	vol, out := t.TempDir(), t.TempDir()
	os.WriteFile(out+"/canary", nil, 0o600)
	os.Mkdir(vol+"/d", 0o700)
	os.WriteFile(vol+"/d/f", nil, 0o600)
	os.Symlink(out+"/canary", vol+"/link")
	os.Symlink(out, vol+"/dir")
	pod := withGroup(podWith(), 4321)
	give := func() {
		t.Helper()
		at, err := beneath.Open(vol)
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		if err := own(context.Background(), at, pod); err != nil {
			t.Fatal(err)
		}
	}
	give()
	for path, want := range map[string]uint32{vol: groupDir, vol + "/d": groupDir, vol + "/d/f": groupFile} {
		if st := statOf(t, path); st.Mode&want != want || st.Gid != 4321 {
			t.Errorf("%s: %o, group %d", path, st.Mode, st.Gid)
		}
	}
	if st := statOf(t, vol+"/link"); st.Gid != 4321 {
		t.Errorf("the link has group %d", st.Gid)
	}
	for _, path := range []string{out, out + "/canary"} {
		if st := statOf(t, path); st.Gid != 0 || st.Mode&0o077 != 0 && path != out {
			t.Errorf("%s outside: %o, group %d", path, st.Mode, st.Gid)
		}
	}
	// OnRootMismatch looks at the volume's own directory alone: group and bits.
	os.Chmod(vol+"/d/f", 0o600)
	policy := corev1.FSGroupChangeOnRootMismatch
	pod.Spec.SecurityContext.FSGroupChangePolicy = &policy
	give()
	if st := statOf(t, vol+"/d/f"); st.Mode&0o777 != 0o600 {
		t.Errorf("OnRootMismatch changed a file of a volume that was right: %o", st.Mode)
	}
	os.Chmod(vol, 0o755|os.ModeSetgid)
	give()
	if st := statOf(t, vol+"/d/f"); st.Mode&0o777 != 0o660 {
		t.Errorf("OnRootMismatch left a file of a volume whose mode is wrong: %o", st.Mode)
	}
}

// TestHostPathIsNotMadeThroughLinks: a pod that can write in a host folder cannot make the daemon make things elsewhere.
func TestHostPathIsNotMadeThroughLinks(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	os.Symlink(out, dir+"/link")
	os.Symlink(out+"/new", dir+"/dangling")
	for _, ty := range []corev1.HostPathType{corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathFileOrCreate} {
		for _, path := range []string{dir + "/link/a", dir + "/link/a/b", dir + "/dangling", dir + "/dangling/x"} {
			if err := checkHostPath(path, ty); err == nil {
				t.Errorf("%s as %q was made", path, ty)
			}
		}
	}
	if left, _ := os.ReadDir(out); len(left) != 0 {
		t.Errorf("made outside: %v", left)
	}
	if err := checkHostPath(dir+"/link", corev1.HostPathDirectory); err != nil {
		t.Errorf("a link that leads to a directory: %v", err)
	}
	if got, err := resolveSystem("/var/run/x"); err != nil || statLink("/var/run") && got != "/run/x" {
		t.Errorf("/var/run/x is %s, %v", got, err)
	}
}

func statLink(path string) bool {
	to, err := os.Readlink(path)
	return err == nil && strings.HasSuffix(to, "run")
}

func TestClaims(t *testing.T) {
	host, configure := hostWorld(t)
	m := newManager(t, objects{})
	configure(&m.cfg)
	inner := m.cfg.Claim
	var change func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)
	m.cfg.Claim = func(ctx context.Context, ns, name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
		pvc, pv, err := inner(ctx, ns, name)
		pv.Name = "pv"
		change(pvc, pv)
		return pvc, pv, err
	}
	block := corev1.PersistentVolumeBlock
	claim := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c", ReadOnly: true}}
	ephemeral := corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
	device := func(p *corev1.Pod) {
		p.Spec.Containers[0].VolumeMounts = nil
		p.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/x"}}
	}
	yes := true
	owned := metav1.OwnerReference{UID: "u1", Controller: &yes}
	for _, c := range []struct {
		name   string
		source corev1.VolumeSource
		change func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)
		pod    func(*corev1.Pod)
		want   string
	}{
		{"read-only", claim, func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {}, nil, ""},
		{"host path", claim, func(_ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
			pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host + "/hp"}}
		}, nil, ""},
		{"options", claim, func(_ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
			pv.Spec.MountOptions = []string{"noexec"}
		}, nil, ""},
		{"bad options", claim, func(_ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
			pv.Spec.MountOptions = []string{"hard"}
		}, nil, `mount option "hard" is not supported`},
		{"block mounted", claim, func(pvc *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) { pvc.Spec.VolumeMode = &block }, nil, "has volumeMode Block, but is specified in volumeMounts"},
		{"directory as device", claim, func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {}, device, "has volumeMode Filesystem, but is specified in volumeDevices"},
		{"no device", claim, func(pvc *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) { pvc.Spec.VolumeMode = &block }, device, "is not a block device"},
		{"other source", claim, func(_ *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) {
			pv.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}
		}, nil, "no volume plugin matched its source nfs"},
		{"ephemeral", ephemeral, func(pvc *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
			pvc.OwnerReferences = []metav1.OwnerReference{owned}
		}, nil, ""},
		{"somebody's", ephemeral, func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {}, nil, "was not created for pod"},
	} {
		change = c.change
		pod := podWith(corev1.Volume{Name: "v", VolumeSource: c.source})
		if c.pod != nil {
			c.pod(pod)
		}
		got, err := m.SetUp(context.Background(), Input{Pod: pod})
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		case err == nil && got.Volumes["v"].ReadOnly != (c.source.PersistentVolumeClaim != nil):
			t.Errorf("%s: read-only %v", c.name, got.Volumes["v"].ReadOnly)
		}
		if err := m.TearDown("u1"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnusedAndUnknown: a volume that no container uses is not set up; one of a kind that the node does not have says so.
func TestUnusedAndUnknown(t *testing.T) {
	m := newManager(t, objects{})
	nfs := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/"}}}
	pod := podWith(nfs)
	if _, err := m.SetUp(context.Background(), Input{Pod: pod}); err == nil || !strings.Contains(err.Error(), "volumes of type nfs") {
		t.Error(err)
	}
	pod.Spec.Containers[0].VolumeMounts = nil
	if got, err := m.SetUp(context.Background(), Input{Pod: pod}); err != nil || len(got.Volumes) != 0 {
		t.Errorf("%v, %v", got, err)
	}
	bad := podWith(corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Tape"}}})
	if _, err := m.SetUp(context.Background(), Input{Pod: bad}); err == nil || !strings.Contains(err.Error(), `unknown storage medium "Tape"`) {
		t.Error(err)
	}
}
