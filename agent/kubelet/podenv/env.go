package podenv

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Objects the environment refers to.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Input of Env.
type Input struct {
	Pod       *corev1.Pod // with the addresses of its status filled in
	Container *corev1.Container
	Objects   Objects
	// Services of the pod's namespace and default/kubernetes.
	Services    []*corev1.Service
	Allocatable corev1.ResourceList
	// File reads a file of a volume of the pod, for fileKeyRef.
	File func(volume, path string) ([]byte, error)
}

// env keeps names in the order they were first set.
type env struct {
	names  []string
	values map[string]string
}

func (e *env) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *env) lookup(name string) (string, bool) { v, ok := e.values[name]; return v, ok }

// Env returns the environment as NAME=value, and a lookup for the expansion of command, args and subPathExpr. An error
// is a missing object or key and names it; the container then waits with CreateContainerConfigError.
func Env(ctx context.Context, in Input) ([]string, func(string) (string, bool), error) {
	services := &env{values: map[string]string{}}
	for _, s := range in.Services {
		serviceEnv(services, s)
	}
	own := &env{values: map[string]string{}}
	for _, from := range in.Container.EnvFrom {
		if err := envFrom(ctx, in, own, from); err != nil {
			return nil, nil, err
		}
	}
	both := func(name string) (string, bool) {
		if v, ok := own.lookup(name); ok {
			return v, true
		}
		return services.lookup(name)
	}
	for _, v := range in.Container.Env {
		value, ok, err := value(ctx, in, v, both)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			own.set(v.Name, value)
		}
	}
	out := make([]string, 0, len(own.names)+len(services.names))
	for _, n := range services.names {
		if _, ok := own.values[n]; !ok {
			out = append(out, n+"="+services.values[n])
		}
	}
	for _, n := range own.names {
		out = append(out, n+"="+own.values[n])
	}
	return out, both, nil
}

func envFrom(ctx context.Context, in Input, e *env, from corev1.EnvFromSource) error {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		cm, err := in.Objects.ConfigMap(ctx, in.Pod.Namespace, from.ConfigMapRef.Name)
		if err != nil {
			return optional(err, from.ConfigMapRef.Optional)
		}
		data = cm.Data
	case from.SecretRef != nil:
		s, err := in.Objects.Secret(ctx, in.Pod.Namespace, from.SecretRef.Name)
		if err != nil {
			return optional(err, from.SecretRef.Optional)
		}
		for k, v := range s.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		if name := from.Prefix + k; name != "" && !strings.ContainsAny(name, "=\x00") {
			e.set(name, data[k])
		}
	}
	return nil
}

func optional(err error, may *bool) error {
	if may != nil && *may && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// value of one variable; ok is false when it is optional and not there.
func value(ctx context.Context, in Input, v corev1.EnvVar, lookup func(string) (string, bool)) (string, bool, error) {
	from := v.ValueFrom
	switch {
	case from == nil:
		return Expand(v.Value, lookup), true, nil
	case from.FieldRef != nil:
		s, err := Field(in.Pod, from.FieldRef.FieldPath)
		return s, true, err
	case from.ResourceFieldRef != nil:
		s, err := ResourceField(in.Pod, in.Container.Name, from.ResourceFieldRef, in.Allocatable)
		return s, true, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := in.Objects.ConfigMap(ctx, in.Pod.Namespace, ref.Name)
		if err != nil {
			return "", false, optional(err, ref.Optional)
		}
		if s, ok := cm.Data[ref.Key]; ok {
			return s, true, nil
		}
		return missing(ref.Optional, "couldn't find key %v in ConfigMap %v/%v", ref.Key, in.Pod.Namespace, ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := in.Objects.Secret(ctx, in.Pod.Namespace, ref.Name)
		if err != nil {
			return "", false, optional(err, ref.Optional)
		}
		if b, ok := s.Data[ref.Key]; ok {
			return string(b), true, nil
		}
		return missing(ref.Optional, "couldn't find key %v in Secret %v/%v", ref.Key, in.Pod.Namespace, ref.Name)
	case from.FileKeyRef != nil:
		return fileKey(in, from.FileKeyRef)
	}
	return "", false, nil
}

func missing(may *bool, format string, args ...any) (string, bool, error) {
	if may != nil && *may {
		return "", false, nil
	}
	return "", false, fmt.Errorf(format, args...)
}

// fileKey reads KEY=value lines from a file that an init container left in a volume.
func fileKey(in Input, ref *corev1.FileKeySelector) (string, bool, error) {
	if in.File == nil {
		return "", false, fmt.Errorf("fileKeyRef: volume %s cannot be read", ref.VolumeName)
	}
	b, err := in.File(ref.VolumeName, ref.Path)
	if err != nil {
		if ref.Optional != nil && *ref.Optional {
			return "", false, nil
		}
		return "", false, fmt.Errorf("couldn't read file %v of volume %v: %w", ref.Path, ref.VolumeName, err)
	}
	for line := range strings.Lines(string(b)) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(k, "#") && strings.TrimSpace(k) == ref.Key {
			v = strings.TrimSpace(v)
			if len(v) >= 2 && (v[0] == '\'' || v[0] == '"') && v[len(v)-1] == v[0] {
				v = v[1 : len(v)-1]
			}
			return v, true, nil
		}
	}
	return missing(ref.Optional, "environment variable key %q not found in file %q", ref.Key, ref.Path)
}

// serviceEnv sets the variables that containers have known Services by since Docker's links.
func serviceEnv(e *env, s *corev1.Service) {
	if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	name := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
	e.set(name+"_SERVICE_HOST", s.Spec.ClusterIP)
	e.set(name+"_SERVICE_PORT", strconv.Itoa(int(s.Spec.Ports[0].Port)))
	for _, p := range s.Spec.Ports {
		if p.Name != "" {
			e.set(name+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")), strconv.Itoa(int(p.Port)))
		}
	}
	for i, p := range s.Spec.Ports {
		proto := string(p.Protocol)
		if proto == "" {
			proto = "TCP"
		}
		lower, port := strings.ToLower(proto), strconv.Itoa(int(p.Port))
		url := lower + "://" + net.JoinHostPort(s.Spec.ClusterIP, port)
		if i == 0 {
			e.set(name+"_PORT", url)
		}
		prefix := name + "_PORT_" + port + "_" + strings.ToUpper(proto)
		e.set(prefix, url)
		e.set(prefix+"_PROTO", lower)
		e.set(prefix+"_PORT", port)
		e.set(prefix+"_ADDR", s.Spec.ClusterIP)
	}
}
