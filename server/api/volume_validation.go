package api

import (
	"path"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const fileMode = "must be a number between 0 and 0777 (octal), both inclusive"

// volumes checks a pod's volumes and returns them by name, for what refers to them.
func (c *check) volumes(at *field.Path, vs []corev1.Volume) map[string]*corev1.Volume {
	byName, seen := map[string]*corev1.Volume{}, once{}
	for i := range vs {
		v, path := &vs[i], at.Index(i)
		if c.needs(path.Child("name"), v.Name) {
			c.invalid(path.Child("name"), v.Name, validation.IsDNS1123Label(v.Name)...)
			seen.add(c, path.Child("name"), v.Name)
			byName[v.Name] = v
		}
		c.volumeSource(path, v)
	}
	return byName
}

func (c *check) volumeSource(at *field.Path, v *corev1.Volume) {
	c.onlyOne(at, v.VolumeSource, "volume type")
	mode := func(at *field.Path, m *int32) {
		if m != nil && (*m < 0 || *m > 0o777) {
			c.invalid(at, *m, fileMode)
		}
	}
	items := func(at *field.Path, items []corev1.KeyToPath) {
		for i, it := range items {
			c.needs(at.Index(i).Child("key"), it.Key)
			if c.needs(at.Index(i).Child("path"), it.Path) {
				c.insidePath(at.Index(i).Child("path"), it.Path)
			}
			mode(at.Index(i).Child("mode"), it.Mode)
		}
	}
	downward := func(at *field.Path, items []corev1.DownwardAPIVolumeFile) {
		for i := range items {
			c.downwardFile(at.Index(i), &items[i])
			mode(at.Index(i).Child("mode"), items[i].Mode)
		}
	}
	if s := v.EmptyDir; s != nil && s.SizeLimit != nil && s.SizeLimit.Sign() < 0 {
		c.forbidden(at.Child("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")
	}
	if s := v.HostPath; s != nil {
		c.hostPath(at.Child("hostPath"), s)
	}
	if s := v.Secret; s != nil {
		c.needs(at.Child("secret", "secretName"), s.SecretName)
		mode(at.Child("secret", "defaultMode"), s.DefaultMode)
		items(at.Child("secret", "items"), s.Items)
	}
	if s := v.ConfigMap; s != nil {
		c.needs(at.Child("configMap", "name"), s.Name)
		mode(at.Child("configMap", "defaultMode"), s.DefaultMode)
		items(at.Child("configMap", "items"), s.Items)
	}
	if s := v.DownwardAPI; s != nil {
		mode(at.Child("downwardAPI", "defaultMode"), s.DefaultMode)
		downward(at.Child("downwardAPI", "items"), s.Items)
	}
	if s := v.Projected; s != nil {
		mode(at.Child("projected", "defaultMode"), s.DefaultMode)
		c.projections(at.Child("projected"), s.Sources, items, downward)
	}
	c.remoteVolume(at, &v.VolumeSource)
	if s := v.Ephemeral; s != nil {
		if s.VolumeClaimTemplate == nil {
			c.required(at.Child("ephemeral", "volumeClaimTemplate"), "")
		} else {
			c.claimSpec(at.Child("ephemeral", "volumeClaimTemplate", "spec"), &s.VolumeClaimTemplate.Spec)
		}
	}
	if s := v.Image; s != nil {
		c.needs(at.Child("image", "reference"), s.Reference)
		oneOf(c, at.Child("image", "pullPolicy"), s.PullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	}
}

// remoteVolume checks what must be named for volumes that are somewhere else.
func (c *check) remoteVolume(at *field.Path, v *corev1.VolumeSource) {
	if s := v.PersistentVolumeClaim; s != nil {
		c.needs(at.Child("persistentVolumeClaim", "claimName"), s.ClaimName)
	}
	if s := v.NFS; s != nil {
		c.needs(at.Child("nfs", "server"), s.Server)
		if c.needs(at.Child("nfs", "path"), s.Path) && !path.IsAbs(s.Path) {
			c.invalid(at.Child("nfs", "path"), s.Path, "must be an absolute path")
		}
	}
	if s := v.CSI; s != nil {
		c.name(at.Child("csi", "driver"), s.Driver, func(s string) []string { return validation.IsDNS1123Subdomain(strings.ToLower(s)) })
	}
	if s := v.ISCSI; s != nil {
		c.needs(at.Child("iscsi", "targetPortal"), s.TargetPortal)
		c.needs(at.Child("iscsi", "iqn"), s.IQN)
	}
}

// onlyOne checks that at most one pointer of a struct of alternatives is set.
func (c *check) onlyOne(at *field.Path, alternatives any, what string) (set int) {
	v := reflect.ValueOf(alternatives)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			if set++; set > 1 {
				name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
				c.forbidden(at.Child(name), "may not specify more than 1 "+what)
			}
		}
	}
	return set
}

func (c *check) hostPath(at *field.Path, s *corev1.HostPathVolumeSource) {
	if c.needs(at.Child("path"), s.Path) {
		c.noBacksteps(at.Child("path"), s.Path)
	}
	if s.Type != nil && *s.Type != corev1.HostPathUnset {
		oneOfIfSet(c, at.Child("type"), *s.Type, corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
			corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)
	}
}

func (c *check) downwardFile(at *field.Path, f *corev1.DownwardAPIVolumeFile) {
	if c.needs(at.Child("path"), f.Path) {
		c.insidePath(at.Child("path"), f.Path)
	}
	switch {
	case f.FieldRef != nil && f.ResourceFieldRef != nil:
		c.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
	case f.FieldRef != nil:
		c.fieldRef(at.Child("fieldRef"), f.FieldRef, volumeFields)
	case f.ResourceFieldRef != nil:
		c.resourceFieldRef(at.Child("resourceFieldRef"), f.ResourceFieldRef, true)
	default:
		c.required(at, "one of fieldRef and resourceFieldRef is required")
	}
}

// insidePath is a path that must stay inside its volume, and must not take the names that atomic writes use.
func (c *check) insidePath(at *field.Path, p string) {
	c.descendingPath(at, p)
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") && p != ".." {
		c.invalid(at, p, "must not start with '..'")
	}
}

func (c *check) descendingPath(at *field.Path, p string) {
	if path.IsAbs(p) {
		c.invalid(at, p, "must be a relative path")
	}
	c.noBacksteps(at, p)
}

func (c *check) noBacksteps(at *field.Path, p string) {
	for _, part := range strings.Split(strings.ReplaceAll(p, `\`, "/"), "/") {
		if part == ".." {
			c.invalid(at, p, "must not contain '..'")
			return
		}
	}
}

// mounts checks a container's volumeMounts and volumeDevices against the pod's volumes.
func (c *check) mounts(at *field.Path, ct *corev1.Container, volumes map[string]*corev1.Volume) {
	paths := map[string]bool{}
	for i := range ct.VolumeMounts {
		m, path := &ct.VolumeMounts[i], at.Child("volumeMounts").Index(i)
		if c.needs(path.Child("name"), m.Name) && volumes[m.Name] == nil {
			c.add(field.NotFound(path.Child("name"), m.Name))
		}
		if c.needs(path.Child("mountPath"), m.MountPath) && paths[m.MountPath] {
			c.invalid(path.Child("mountPath"), m.MountPath, "must be unique")
		}
		paths[m.MountPath] = true
		c.descendingPath(path.Child("subPath"), m.SubPath)
		c.descendingPath(path.Child("subPathExpr"), m.SubPathExpr)
		if m.SubPath != "" && m.SubPathExpr != "" {
			c.invalid(path.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive")
		}
		c.mountOptions(path, m, ct.SecurityContext)
	}
	c.variableFiles(at.Child("env"), ct.Env, volumes)
	names := map[string]bool{}
	for i, d := range ct.VolumeDevices {
		path := at.Child("volumeDevices").Index(i)
		if c.needs(path.Child("name"), d.Name) {
			v := volumes[d.Name]
			switch {
			case names[d.Name]:
				c.invalid(path.Child("name"), d.Name, "must be unique")
			case v == nil:
				c.add(field.NotFound(path.Child("name"), d.Name))
			case v.PersistentVolumeClaim == nil && v.Ephemeral == nil:
				c.invalid(path.Child("name"), d.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
			}
			names[d.Name] = true
		}
		if c.needs(path.Child("devicePath"), d.DevicePath) {
			c.noBacksteps(path.Child("devicePath"), d.DevicePath)
			if paths[d.DevicePath] {
				c.invalid(path.Child("devicePath"), d.DevicePath, "must not already exist as a path in volumeMounts")
			}
		}
	}
}

// variableFiles checks the volumes that variables are read from.
func (c *check) variableFiles(at *field.Path, env []corev1.EnvVar, volumes map[string]*corev1.Volume) {
	for i, e := range env {
		if e.ValueFrom == nil || e.ValueFrom.FileKeyRef == nil || e.ValueFrom.FileKeyRef.VolumeName == "" {
			continue
		}
		name, path := e.ValueFrom.FileKeyRef.VolumeName, at.Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
		switch v := volumes[name]; {
		case v == nil:
			c.add(field.NotFound(path, name))
		case v.EmptyDir == nil && v.VolumeSource != (corev1.VolumeSource{}):
			c.invalid(path, name, "referenced volume must be of type emptyDir")
		}
	}
}

func (c *check) mountOptions(at *field.Path, m *corev1.VolumeMount, sc *corev1.SecurityContext) {
	if p := m.MountPropagation; p != nil {
		oneOf(c, at.Child("mountPropagation"), *p, corev1.MountPropagationNone, corev1.MountPropagationHostToContainer, corev1.MountPropagationBidirectional)
		if *p == corev1.MountPropagationBidirectional && (sc == nil || !deref(sc.Privileged)) {
			c.forbidden(at.Child("mountPropagation"), "Bidirectional mount propagation is available only to privileged containers")
		}
	}
	r, path := m.RecursiveReadOnly, at.Child("recursiveReadOnly")
	if r == nil {
		return
	}
	oneOf(c, path, *r, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)
	if *r == corev1.RecursiveReadOnlyDisabled {
		return
	}
	if !m.ReadOnly {
		c.forbidden(path, "may only be specified when readOnly is true")
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		c.forbidden(path, "may only be specified when mountPropagation is None or not specified")
	}
}

// secretName and others, as functions of a string.
var (
	subdomain          = validation.IsDNS1123Subdomain
	serviceAccountName = dnsName(apivalidation.ValidateServiceAccountName)
)
