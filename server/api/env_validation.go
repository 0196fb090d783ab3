package api

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Fields of the pod that the downward API shows, and resources of containers.
var (
	envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	volumeFields      = []string{"metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid"}
	downwardResources = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory"}
	cpuDivisors  = []string{"1m", "1"}
	byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
)

func (c *check) env(at *field.Path, env []corev1.EnvVar) {
	for i, e := range env {
		path := at.Index(i)
		if c.needs(path.Child("name"), e.Name) {
			c.invalid(path.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name)...)
		}
		if e.ValueFrom == nil {
			continue
		}
		from := path.Child("valueFrom")
		switch n := c.envSource(from, e.ValueFrom); {
		case n == 0:
			c.invalid(from, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`")
		case e.Value != "":
			c.invalid(from, "", "may not be specified when `value` is not empty")
		case n > 1:
			c.invalid(from, "", "may not have more than one field specified at a time")
		}
	}
}

// envSource returns how many sources are named.
func (c *check) envSource(at *field.Path, s *corev1.EnvVarSource) (n int) {
	key := func(at *field.Path, name, key string) {
		c.nameIfSet(at.Child("name"), name, subdomain)
		c.name(at.Child("key"), key, validation.IsConfigMapKey)
		n++
	}
	if s.FieldRef != nil {
		c.fieldRef(at.Child("fieldRef"), s.FieldRef, envFields)
		n++
	}
	if s.ResourceFieldRef != nil {
		c.resourceFieldRef(at.Child("resourceFieldRef"), s.ResourceFieldRef, false)
		n++
	}
	if r := s.ConfigMapKeyRef; r != nil {
		key(at.Child("configMapKeyRef"), r.Name, r.Key)
	}
	if r := s.SecretKeyRef; r != nil {
		key(at.Child("secretKeyRef"), r.Name, r.Key)
	}
	if r := s.FileKeyRef; r != nil {
		path := at.Child("fileKeyRef")
		c.name(path.Child("key"), r.Key, validation.IsRelaxedEnvVarName)
		c.needs(path.Child("volumeName"), r.VolumeName)
		if c.needs(path.Child("path"), r.Path) {
			c.insidePath(path.Child("path"), r.Path)
		}
		n++
	}
	return n
}

func (c *check) envFrom(at *field.Path, from []corev1.EnvFromSource) {
	for i, f := range from {
		path := at.Index(i)
		c.nameIfSet(path.Child("prefix"), f.Prefix, validation.IsRelaxedEnvVarName)
		if f.ConfigMapRef != nil {
			c.name(path.Child("configMapRef", "name"), f.ConfigMapRef.Name, subdomain)
		}
		if f.SecretRef != nil {
			c.name(path.Child("secretRef", "name"), f.SecretRef.Name, subdomain)
		}
		switch {
		case f.ConfigMapRef == nil && f.SecretRef == nil:
			c.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
		case f.ConfigMapRef != nil && f.SecretRef != nil:
			c.invalid(path, "", "may not have more than one field specified at a time")
		}
	}
}

// fieldRef checks a reference to a field of the pod, which may have a subscript: metadata.labels['app'].
func (c *check) fieldRef(at *field.Path, f *corev1.ObjectFieldSelector, allowed []string) {
	if !c.needs(at.Child("apiVersion"), f.APIVersion) || !c.needs(at.Child("fieldPath"), f.FieldPath) {
		return
	}
	at = at.Child("fieldPath")
	name, key, subscripted := strings.Cut(f.FieldPath, "['")
	if subscripted && strings.HasSuffix(key, "']") {
		key = strings.TrimSuffix(key, "']")
		switch name {
		case "metadata.annotations":
			c.invalid(at, key, validation.IsQualifiedName(strings.ToLower(key))...)
		case "metadata.labels":
			c.invalid(at, key, validation.IsQualifiedName(key)...)
		default:
			c.invalid(at, name, "does not support subscript")
		}
		return
	}
	if slices.Contains(allowed, f.FieldPath) {
		return
	}
	if known := slices.Contains(envFields, f.FieldPath) || slices.Contains(volumeFields, f.FieldPath); !known {
		c.invalid(at, f.FieldPath, "error converting fieldPath: field label not supported: "+f.FieldPath)
		return
	}
	allowed = slices.Clone(allowed)
	slices.Sort(allowed)
	c.add(field.NotSupported(at, f.FieldPath, allowed))
}

func (c *check) resourceFieldRef(at *field.Path, f *corev1.ResourceFieldSelector, inVolume bool) {
	switch {
	case inVolume && f.ContainerName == "":
		c.required(at.Child("containerName"), "")
	case f.Resource == "":
		c.required(at.Child("resource"), "")
	case strings.HasPrefix(f.Resource, "requests.hugepages-"), strings.HasPrefix(f.Resource, "limits.hugepages-"):
		c.divisor(at, f, byteDivisors, "hugepages")
	case !slices.Contains(downwardResources, f.Resource):
		c.add(field.NotSupported(at.Child("resource"), f.Resource, downwardResources))
	case strings.HasSuffix(f.Resource, ".cpu"):
		c.divisor(at, f, cpuDivisors, "cpu")
	case strings.HasSuffix(f.Resource, ".memory"):
		c.divisor(at, f, byteDivisors, "memory")
	default:
		c.divisor(at, f, byteDivisors, "local ephemeral storage")
	}
}

func (c *check) divisor(at *field.Path, f *corev1.ResourceFieldSelector, allowed []string, what string) {
	if !f.Divisor.IsZero() && !slices.Contains(allowed, f.Divisor.String()) {
		list := strings.Join(allowed, ", ")
		if len(allowed) == 2 {
			list = strings.Join(allowed, " and ")
		}
		c.invalid(at.Child("divisor"), f.Resource, "only divisor's values "+list+" are supported with the "+what+" resource")
	}
}
