package api

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func csiDriver() *Kind {
	type driver = *storagev1.CSIDriver
	flag := func(name, description string, value func(driver) *bool) Column {
		return col(name, "boolean", description, func(d driver, _ time.Time) any { return deref(value(d)) })
	}
	return &Kind{
		Group: "storage.k8s.io", Kind: "CSIDriver", Plural: "csidrivers", Singular: "csidriver",
		Versions: []Version{typed[storagev1.CSIDriver, storagev1.CSIDriverList]("storage.k8s.io", "v1")},
		Prefix:   "/registry/csidrivers",
		Strategy: Strategy{
			Default: do(defaultCSIDriver),
			// A new driver has no generation; its first change makes it 1.
			PrepareUpdate:  updated(nil, func(d driver) any { return d.Spec }),
			Validate:       one(validateCSIDriver),
			ValidateUpdate: pair(validateCSIDriverUpdate),
			Warnings:       pair(csiDriverWarnings),
		},
		Columns: []Column{
			col("AttachRequired", "boolean", "whether volumes are attached before they are mounted", func(d driver, _ time.Time) any {
				return d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
			}),
			flag("PodInfoOnMount", "whether the driver is told about the pod", func(d driver) *bool { return d.Spec.PodInfoOnMount }),
			flag("StorageCapacity", "whether the driver publishes its capacity", func(d driver) *bool { return d.Spec.StorageCapacity }),
			str("TokenRequests", "audiences of the tokens the driver gets", func(d driver) string {
				if d.Spec.TokenRequests == nil {
					return "<unset>"
				}
				var list []string
				for _, t := range d.Spec.TokenRequests {
					list = append(list, t.Audience)
				}
				return strings.Join(list, ",")
			}),
			flag("RequiresRepublish", "whether volumes are published again and again", func(d driver) *bool { return d.Spec.RequiresRepublish }),
			str("Modes", "kinds of volumes", func(d driver) string {
				var list []string
				for _, m := range d.Spec.VolumeLifecycleModes {
					list = append(list, string(m))
				}
				return orNone(strings.Join(list, ","))
			}),
			age(),
		},
	}
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	unset(&s.AttachRequired, true)
	unset(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	for _, flag := range []**bool{&s.PodInfoOnMount, &s.StorageCapacity, &s.RequiresRepublish, &s.SELinuxMount, &s.PreventPodSchedulingIfMissing} {
		unset(flag, false)
	}
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

func validateCSIDriver(d *storagev1.CSIDriver) fieldErrors {
	c, spec := &check{}, at("spec")
	s := &d.Spec
	for _, f := range []struct {
		name  string
		value *bool
	}{
		{"attachedRequired", s.AttachRequired}, {"podInfoOnMount", s.PodInfoOnMount}, {"storageCapacity", s.StorageCapacity},
		{"seLinuxMount", s.SELinuxMount}, {"preventPodSchedulingIfMissing", s.PreventPodSchedulingIfMissing},
	} {
		if f.value == nil {
			c.required(spec.Child(f.name), "")
		}
	}
	if p := s.FSGroupPolicy; p != nil {
		allowed := []storagev1.FSGroupPolicy{storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy}
		if *p != allowed[0] && *p != allowed[1] && *p != allowed[2] {
			c.add(field.NotSupported(spec.Child("fsGroupPolicy"), *p, allowed))
		}
	}
	c.tokenRequests(spec.Child("tokenRequests"), s.TokenRequests)
	for _, m := range s.VolumeLifecycleModes {
		if m != storagev1.VolumeLifecyclePersistent && m != storagev1.VolumeLifecycleEphemeral {
			c.add(field.NotSupported(spec.Child("volumeLifecycleModes"), m,
				[]storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral}))
		}
	}
	if n := s.NodeAllocatableUpdatePeriodSeconds; n != nil && *n < 10 {
		c.invalid(spec.Child("nodeAllocatableUpdatePeriodSeconds"), *n, "must be greater than or equal to 10 seconds")
	}
	if b := s.ServiceAccountTokenInSecrets; b != nil && len(s.TokenRequests) == 0 {
		c.invalid(spec.Child("serviceAccountTokenInSecrets"), *b, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	return c.errs
}

func (c *check) tokenRequests(at *field.Path, list []storagev1.TokenRequest) {
	seen := map[string]bool{}
	for i, r := range list {
		if seen[r.Audience] {
			c.add(field.Duplicate(at.Index(i).Child("audience"), r.Audience))
			continue
		}
		seen[r.Audience] = true
		if r.ExpirationSeconds == nil {
			continue
		}
		path, n := at.Index(i).Child("expirationSeconds"), *r.ExpirationSeconds
		if n < 600 {
			c.invalid(path, n, "may not specify a duration less than 10 minutes")
		}
		if n > 1<<32 {
			c.invalid(path, n, "may not specify a duration larger than 2^32 seconds")
		}
	}
}

func validateCSIDriverUpdate(d, old *storagev1.CSIDriver) fieldErrors {
	c := &check{errs: validateCSIDriver(d)}
	c.immutable(at("spec", "attachedRequired"), d.Spec.AttachRequired, old.Spec.AttachRequired)
	c.immutable(at("spec", "volumeLifecycleModes"), d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes)
	return c.errs
}

func csiDriverWarnings(d, old *storagev1.CSIDriver) []string {
	if len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil ||
		old != nil && apiequality.Semantic.DeepEqual(d.Spec.TokenRequests, old.Spec.TokenRequests) {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}
