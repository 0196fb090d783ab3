package volume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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
	// Claim returns the persistent volume that is bound to a claim; nil where there is no server.
	Claim func(ctx context.Context, namespace, name string) (*corev1.PersistentVolume, error)
	// Layers returns the directories of an image, lowest first, pulling it if need be.
	Layers func(ctx context.Context, pod *corev1.Pod, source *corev1.ImageVolumeSource) ([]string, error)
	Log    *slog.Logger
}

// Manager of the volumes of all pods. Safe for concurrent use on different pods.
type Manager struct{ cfg Config }

// New returns a manager; it touches nothing.
func New(cfg Config) *Manager { return &Manager{cfg} }

// Mounted are the volumes of a pod.
type Mounted struct {
	// Paths on the host, by volume name.
	Paths map[string]string
	// Refresh is when SetUp must run again because a token ages; zero for never.
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

// SetUp makes every volume of the pod, all at once, or brings it up to date.
func (m *Manager) SetUp(ctx context.Context, in Input) (*Mounted, error) {
	out := &Mounted{Paths: map[string]string{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var errs []error
	one := func(v *corev1.Volume) {
		path, refresh, err := m.setUp(ctx, in, v)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, &Error{v.Name, err})
			return
		}
		out.Paths[v.Name] = path
		if !refresh.IsZero() && (out.Refresh.IsZero() || refresh.Before(out.Refresh)) {
			out.Refresh = refresh
		}
	}
	for i := range in.Pod.Spec.Volumes {
		v := &in.Pod.Spec.Volumes[i]
		if i == len(in.Pod.Spec.Volumes)-1 {
			one(v)
			break
		}
		wg.Add(1)
		go func() { defer wg.Done(); one(v) }()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

func (m *Manager) setUp(ctx context.Context, in Input, v *corev1.Volume) (string, time.Time, error) {
	for _, s := range sources {
		if s.is(v) {
			return s.setUp(m, ctx, in, v)
		}
	}
	return "", time.Time{}, errors.New("no volume plugin matched")
}

func (m *Manager) podDir(uid types.UID) string    { return filepath.Join(m.cfg.Dir, string(uid)) }
func (m *Manager) memoryDir(uid types.UID) string { return filepath.Join(m.cfg.Memory, string(uid)) }

func (m *Manager) diskPath(uid types.UID, name string) string {
	return filepath.Join(m.podDir(uid), "volumes", name)
}

func (m *Manager) memoryPath(uid types.UID, name string) string {
	return filepath.Join(m.memoryDir(uid), "volumes", name)
}

// Path of a volume of a pod that was set up.
func (m *Manager) Path(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name != name {
			continue
		}
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir != nil || v.Image != nil {
			return m.diskPath(pod.UID, name)
		}
		return m.memoryPath(pod.UID, name)
	}
	return ""
}

// Shm mounts the pod's /dev/shm and returns its path.
func (m *Manager) Shm(uid types.UID) (string, error) {
	path := filepath.Join(m.memoryDir(uid), "shm")
	return path, mountTmpfs(path, "mode=1777,size=65536k")
}

// TearDown unmounts and removes all volumes of the pod; what is left of the pod's directories stays.
func (m *Manager) TearDown(uid types.UID) error {
	if uid == "" {
		return errors.New("tear down volumes: pod has no uid")
	}
	dirs := []string{filepath.Join(m.podDir(uid), "volumes"), filepath.Join(m.podDir(uid), "subpaths"), m.memoryDir(uid)}
	if err := unmountBelow(dirs...); err != nil {
		return fmt.Errorf("tear down volumes of pod %s: %w", uid, err)
	}
	for _, d := range dirs {
		if err := os.RemoveAll(d); err != nil {
			return fmt.Errorf("remove volumes of pod %s: %w", uid, err)
		}
	}
	return nil
}
