package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/beneath"
)

// Objects are what volumes are made from.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Token of the pod's service account and when to ask again.
	Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (string, time.Time, error)
	// TrustAnchors are the certificates of the trust bundles that p selects (PEM).
	TrustAnchors(ctx context.Context, p *corev1.ClusterTrustBundleProjection) ([]byte, error)
	// Certificate of the pod for source index of a projected volume: key and chain (PEM), and when to ask again.
	Certificate(ctx context.Context, pod *corev1.Pod, volume string, index int, p *corev1.PodCertificateProjection) (key, chain []byte, refresh time.Time, err error)
}

// Config of a Manager.
type Config struct {
	// Dir is on disk, Memory on a tmpfs; both hold a directory for each pod.
	Dir, Memory string
	Objects     Objects
	// Claim returns a claim and the persistent volume that is bound to it; nil where there is no server.
	Claim func(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error)
	// Layers returns the directories of an image, lowest first, pulling it if need be.
	Layers func(ctx context.Context, pod *corev1.Pod, source *corev1.ImageVolumeSource) ([]string, error)
	Log    *slog.Logger
}

// Manager of the volumes of all pods. Safe for concurrent use on different pods.
type Manager struct {
	cfg Config
	// memory is held while a pod's tmpfs is looked for and mounted: its volumes are set up at the same time.
	memory sync.Mutex
}

// New returns a manager; it touches nothing.
func New(cfg Config) *Manager { return &Manager{cfg: cfg} }

// Mounted are the volumes of a pod that its containers use.
type Mounted struct {
	Volumes map[string]Volume
	// Refresh is when SetUp must run again because something in a volume ages; zero for never.
	Refresh time.Time
}

// Input of SetUp.
type Input struct {
	Pod         *corev1.Pod
	Allocatable corev1.ResourceList
}

// Error names the volume that could not be set up.
type Error struct {
	Volume string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", e.Volume, e.Err)
}
func (e *Error) Unwrap() error { return e.Err }

// SetUp makes every volume of the pod that a container uses, all at once, or brings it up to date.
func (m *Manager) SetUp(ctx context.Context, in Input) (*Mounted, error) {
	out := &Mounted{Volumes: map[string]Volume{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	one := func(v *corev1.Volume) {
		got, err := m.setUp(ctx, in, v)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, &Error{v.Name, err})
			return
		}
		out.Volumes[v.Name] = got
		if !got.Refresh.IsZero() && (out.Refresh.IsZero() || got.Refresh.Before(out.Refresh)) {
			out.Refresh = got.Refresh
		}
	}
	used := usedVolumes(in.Pod)
	for i, v := range used {
		if i == len(used)-1 {
			one(v)
			break
		}
		wg.Go(func() { one(v) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

func usedVolumes(pod *corev1.Pod) (out []*corev1.Volume) {
	mounts, devices := users(pod)
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; mounts[v.Name] || devices[v.Name] {
			out = append(out, v)
		}
	}
	return out
}

func (m *Manager) setUp(ctx context.Context, in Input, v *corev1.Volume) (Volume, error) {
	for _, d := range drivers {
		if d.is(v) {
			return d.setUp(m, ctx, in, v)
		}
	}
	return Volume{}, fmt.Errorf("no volume plugin matched: this node cannot set up volumes of type %s", sourceName(v.VolumeSource))
}

// sourceName is the name, in the API, of the alternative that is set in a struct of alternatives.
func sourceName(alternatives any) string {
	v := reflect.ValueOf(alternatives)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return "unknown"
}

func (m *Manager) podDir(uid types.UID) string    { return filepath.Join(m.cfg.Dir, string(uid)) }
func (m *Manager) memoryDir(uid types.UID) string { return filepath.Join(m.cfg.Memory, string(uid)) }

func (m *Manager) diskPath(uid types.UID, name string) string {
	return filepath.Join(m.podDir(uid), "volumes", name)
}

func (m *Manager) memoryPath(uid types.UID, name string) string {
	return filepath.Join(m.memoryDir(uid), "volumes", name)
}

// Path of a volume of a pod that was set up, "" for one that the node does not make.
func (m *Manager) Path(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name != name {
			continue
		}
		switch v := &pod.Spec.Volumes[i]; {
		case v.EmptyDir != nil, v.Image != nil, none(v):
			return m.diskPath(pod.UID, name)
		case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
			return m.memoryPath(pod.UID, name)
		}
	}
	return ""
}

// openRoot opens one of the manager's own directories, of which no container can change any part.
func openRoot(dir string) (*beneath.Place, error) {
	at, err := beneath.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, err
		}
		at, err = beneath.Open(dir)
	}
	return at, err
}

// podPlace is the pod's directory on disk.
func (m *Manager) podPlace(uid types.UID) (*beneath.Place, error) {
	root, err := openRoot(m.cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.MkdirAll(string(uid), beneath.NoLinks, 0o750, nil)
}

// volumesDir holds the pod's volumes on disk.
func (m *Manager) volumesDir(uid types.UID) (*beneath.Place, error) {
	pod, err := m.podPlace(uid)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	return pod.MkdirAll("volumes", beneath.NoLinks, 0o755, nil)
}

// TearDown unmounts and removes all volumes of the pod; what is left of the pod's directories stays.
func (m *Manager) TearDown(uid types.UID) error {
	if uid == "" || filepath.Base(string(uid)) != string(uid) {
		return fmt.Errorf("tear down volumes: %q is no pod's uid", uid)
	}
	if err := unmountBelow(filepath.Join(m.podDir(uid), "volumes"), filepath.Join(m.podDir(uid), "subpaths"), m.memoryDir(uid)); err != nil {
		return fmt.Errorf("tear down volumes of pod %s: %w", uid, err)
	}
	err := errors.Join(removeIn(m.podDir(uid), "volumes"), removeIn(m.podDir(uid), "subpaths"), removeIn(m.cfg.Memory, string(uid)))
	if err != nil {
		return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
	}
	return nil
}

// removeIn removes name in dir; it never enters what is still mounted there.
func removeIn(dir, name string) error {
	at, err := beneath.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	return at.RemoveAll(name)
}
