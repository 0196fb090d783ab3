package volume

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/agent/kubelet/podenv"
	"codeberg.org/skiff/skiff/internal/beneath"
)

// file of a payload.
type file struct {
	data []byte
	mode uint32
	// uid owns the file when it is not negative (tokens).
	uid int64
}

// payload is files by path inside the volume.
type payload map[string]file

const defaultMode = 0o644

func modeOf(m *int32, def uint32) uint32 {
	if m != nil {
		return uint32(*m) & 0o7777
	}
	return def
}

func may(optional *bool) bool { return optional != nil && *optional }

// add puts the keys of data into p, all of them, or the items.
func (p payload) add(data map[string][]byte, items []corev1.KeyToPath, mode uint32, optional bool, missing string) error {
	if len(items) == 0 {
		for k, v := range data {
			p[k] = file{v, mode, -1}
		}
		return nil
	}
	for _, it := range items {
		v, ok := data[it.Key]
		if !ok {
			if optional {
				continue
			}
			return fmt.Errorf(missing, it.Key)
		}
		if err := safePath(it.Path); err != nil {
			return err
		}
		p[path.Clean(it.Path)] = file{v, modeOf(it.Mode, mode), -1}
	}
	return nil
}

// safePath refuses paths that lead out, and names that the writer keeps for itself.
func safePath(p string) error {
	c := path.Clean(p)
	if p == "" || path.IsAbs(c) || c == "." || c == ".." || strings.HasPrefix(c, "../") || strings.HasPrefix(c, "..") {
		return fmt.Errorf("invalid path %q: must be relative and must not start with '..'", p)
	}
	return nil
}

func (m *Manager) addConfigMap(ctx context.Context, p payload, namespace, name string, items []corev1.KeyToPath, mode uint32, optional bool) error {
	cm, err := m.cfg.Objects.ConfigMap(ctx, namespace, name)
	if err != nil {
		if optional && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, cm.BinaryData)
	return p.add(data, items, mode, optional, "configmap references non-existent config key: %s")
}

func (m *Manager) addSecret(ctx context.Context, p payload, namespace, name string, items []corev1.KeyToPath, mode uint32, optional bool) error {
	s, err := m.cfg.Objects.Secret(ctx, namespace, name)
	if err != nil {
		if optional && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return p.add(s.Data, items, mode, optional, "references non-existent secret key: %s")
}

func addDownward(p payload, in Input, items []corev1.DownwardAPIVolumeFile, mode uint32) error {
	for _, it := range items {
		var s string
		var err error
		switch {
		case it.FieldRef != nil:
			s, err = podenv.Field(in.Pod, it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			s, err = podenv.ResourceField(in.Pod, it.ResourceFieldRef.ContainerName, it.ResourceFieldRef, in.Allocatable)
		}
		if err != nil {
			return err
		}
		if err := safePath(it.Path); err != nil {
			return err
		}
		p[path.Clean(it.Path)] = file{[]byte(s), modeOf(it.Mode, mode), -1}
	}
	return nil
}

func (m *Manager) configMap(ctx context.Context, in Input, v *corev1.Volume) (Volume, error) {
	s, p := v.ConfigMap, payload{}
	if err := m.addConfigMap(ctx, p, in.Pod.Namespace, s.Name, s.Items, modeOf(s.DefaultMode, defaultMode), may(s.Optional)); err != nil {
		return Volume{}, err
	}
	return m.writeVolume(in, v, p)
}

func (m *Manager) secret(ctx context.Context, in Input, v *corev1.Volume) (Volume, error) {
	s, p := v.Secret, payload{}
	if err := m.addSecret(ctx, p, in.Pod.Namespace, s.SecretName, s.Items, modeOf(s.DefaultMode, defaultMode), may(s.Optional)); err != nil {
		return Volume{}, err
	}
	return m.writeVolume(in, v, p)
}

func (m *Manager) downwardAPI(_ context.Context, in Input, v *corev1.Volume) (Volume, error) {
	p := payload{}
	if err := addDownward(p, in, v.DownwardAPI.Items, modeOf(v.DownwardAPI.DefaultMode, defaultMode)); err != nil {
		return Volume{}, err
	}
	return m.writeVolume(in, v, p)
}

func (m *Manager) projected(ctx context.Context, in Input, v *corev1.Volume) (Volume, error) {
	p, mode := payload{}, modeOf(v.Projected.DefaultMode, defaultMode)
	var refresh time.Time
	for i, s := range v.Projected.Sources {
		var err error
		var at time.Time
		switch {
		case s.ConfigMap != nil:
			err = m.addConfigMap(ctx, p, in.Pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, mode, may(s.ConfigMap.Optional))
		case s.Secret != nil:
			err = m.addSecret(ctx, p, in.Pod.Namespace, s.Secret.Name, s.Secret.Items, mode, may(s.Secret.Optional))
		case s.DownwardAPI != nil:
			err = addDownward(p, in, s.DownwardAPI.Items, mode)
		case s.ServiceAccountToken != nil:
			at, err = m.addToken(ctx, p, in, s.ServiceAccountToken, mode)
		case s.ClusterTrustBundle != nil:
			err = m.addTrustAnchors(ctx, p, s.ClusterTrustBundle, mode)
		case s.PodCertificate != nil:
			at, err = m.addCertificate(ctx, p, in, v.Name, i, s.PodCertificate, mode)
		default:
			err = fmt.Errorf("this source of a projected volume is not supported")
		}
		if err != nil {
			return Volume{}, err
		}
		if !at.IsZero() && (refresh.IsZero() || at.Before(refresh)) {
			refresh = at
		}
	}
	out, err := m.writeVolume(in, v, p)
	out.Refresh = refresh
	return out, err
}

func (m *Manager) addToken(ctx context.Context, p payload, in Input, s *corev1.ServiceAccountTokenProjection, mode uint32) (time.Time, error) {
	if err := safePath(s.Path); err != nil {
		return time.Time{}, err
	}
	seconds := int64(3600)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	token, refresh, err := m.cfg.Objects.Token(ctx, in.Pod, s.Audience, seconds)
	if err != nil {
		return time.Time{}, err
	}
	p[filepath.Clean(s.Path)] = private(in.Pod, []byte(token), mode)
	return refresh, nil
}

// private is a file that only the pod's user or group may read, if they are known.
func private(pod *corev1.Pod, data []byte, mode uint32) file {
	f := file{data, mode, commonUser(pod)}
	if sc := pod.Spec.SecurityContext; f.uid >= 0 || sc != nil && sc.FSGroup != nil {
		f.mode = 0o600
	}
	return f
}

func (m *Manager) addTrustAnchors(ctx context.Context, p payload, s *corev1.ClusterTrustBundleProjection, mode uint32) error {
	if err := safePath(s.Path); err != nil {
		return err
	}
	data, err := m.cfg.Objects.TrustAnchors(ctx, s)
	if err != nil {
		return err
	}
	p[filepath.Clean(s.Path)] = file{data, mode, -1}
	return nil
}

func (m *Manager) addCertificate(ctx context.Context, p payload, in Input, volume string, index int, s *corev1.PodCertificateProjection, mode uint32) (time.Time, error) {
	key, chain, refresh, err := m.cfg.Objects.Certificate(ctx, in.Pod, volume, index, s)
	if err != nil {
		return time.Time{}, err
	}
	for _, f := range []struct {
		path string
		data []byte
	}{{s.CredentialBundlePath, slices.Concat(key, chain)}, {s.KeyPath, key}, {s.CertificateChainPath, chain}} {
		if f.path == "" {
			continue
		}
		if err := safePath(f.path); err != nil {
			return time.Time{}, err
		}
		p[filepath.Clean(f.path)] = private(in.Pod, f.data, mode)
	}
	return refresh, nil
}

// commonUser is the user that all containers of the pod run as, -1 if they differ or do not say.
func commonUser(pod *corev1.Pod) int64 {
	uid, first := int64(-1), true
	see := func(sc *corev1.SecurityContext) bool {
		u := int64(-1)
		if p := pod.Spec.SecurityContext; p != nil && p.RunAsUser != nil {
			u = *p.RunAsUser
		}
		if sc != nil && sc.RunAsUser != nil {
			u = *sc.RunAsUser
		}
		same := first || u == uid
		uid, first = u, false
		return same
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if !see(list[i].SecurityContext) {
				return -1
			}
		}
	}
	return uid
}

// writeVolume makes the volume hold the payload. Its files have their last owner, group and mode before anybody sees them.
func (m *Manager) writeVolume(in Input, v *corev1.Volume, p payload) (Volume, error) {
	out := Volume{Path: m.memoryPath(in.Pod.UID, v.Name), ReadOnly: true, Written: true, Own: true}
	gid := group(in.Pod)
	for name, f := range p {
		if err := safePath(name); err != nil {
			return out, err
		}
		if gid >= 0 {
			f.mode |= 0o440
			p[name] = f
		}
	}
	volumes, err := m.apiVolumes(in)
	if err != nil {
		return out, err
	}
	defer volumes.Close()
	at, err := volumes.MkdirAll(v.Name, beneath.NoLinks, 0o755, nil)
	if err != nil {
		return out, err
	}
	defer at.Close()
	root, err := os.OpenRoot(at.Path())
	if err != nil {
		return out, err
	}
	defer root.Close()
	return out, writeAtomic(root, p, gid)
}

func group(pod *corev1.Pod) int {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}
