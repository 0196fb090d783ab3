package api

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateStatefulSet(s *appsv1.StatefulSet) fieldErrors {
	c, spec := &check{}, at("spec")
	c.counts(spec, map[string]*int32{
		"replicas": s.Spec.Replicas, "minReadySeconds": &s.Spec.MinReadySeconds, "revisionHistoryLimit": s.Spec.RevisionHistoryLimit,
	})
	switch p := s.Spec.PodManagementPolicy; p {
	case "":
		c.required(spec.Child("podManagementPolicy"), "")
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		c.invalid(spec.Child("podManagementPolicy"), p, "must be 'OrderedReady' or 'Parallel'")
	}
	c.statefulUpdates(spec.Child("updateStrategy"), &s.Spec.UpdateStrategy)
	if p := s.Spec.PersistentVolumeClaimRetentionPolicy; p != nil {
		path := spec.Child("persistentVolumeClaimRetentionPolicy")
		oneOf(c, path.Child("whenDeleted"), p.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
		oneOf(c, path.Child("whenScaled"), p.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)
	}
	if s.Spec.Ordinals != nil {
		c.nonNegative(spec.Child("ordinals", "start"), int64(s.Spec.Ordinals.Start))
	}
	// The claims' volumes are there when the pods are made, so mounts in the template may name them.
	t := s.Spec.Template.DeepCopy()
	names := map[string]bool{}
	for _, v := range t.Spec.Volumes {
		names[v.Name] = true
	}
	for i := range s.Spec.VolumeClaimTemplates {
		claim := &s.Spec.VolumeClaimTemplates[i]
		if !names[claim.Name] && len(validation.IsDNS1123Label(claim.Name)) == 0 {
			t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
			}})
		}
		c.claimSpec(spec.Child("volumeClaimTemplates").Index(i).Child("spec"), &claim.Spec)
	}
	c.workload("statefulset", s.Spec.Selector, t)
	return c.errs
}

func (c *check) statefulUpdates(at *field.Path, u *appsv1.StatefulSetUpdateStrategy) {
	switch u.Type {
	case "":
		c.required(at, "")
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u.RollingUpdate != nil {
			c.invalid(at.Child("rollingUpdate"), u.RollingUpdate, "only allowed for updateStrategy 'RollingUpdate'")
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r := u.RollingUpdate; r != nil {
			c.counts(at.Child("rollingUpdate"), map[string]*int32{"partition": r.Partition})
			c.amount(at.Child("rollingUpdate", "maxUnavailable"), r.MaxUnavailable)
			if isZeroAmount(r.MaxUnavailable) {
				c.invalid(at.Child("rollingUpdate", "maxUnavailable"), r.MaxUnavailable.String(), "cannot be 0")
			}
			c.atMost100Percent(at.Child("rollingUpdate", "maxUnavailable"), r.MaxUnavailable)
		}
	default:
		c.invalid(at, u.Type, "must be 'RollingUpdate' or 'OnDelete'")
	}
}

func validateStatefulSetUpdate(s, old *appsv1.StatefulSet) fieldErrors {
	c := &check{errs: validateStatefulSet(s)}
	rest := s.Spec.DeepCopy()
	o := &old.Spec
	rest.Replicas, rest.Template, rest.UpdateStrategy, rest.MinReadySeconds = o.Replicas, o.Template, o.UpdateStrategy, o.MinReadySeconds
	rest.Ordinals, rest.RevisionHistoryLimit = o.Ordinals, o.RevisionHistoryLimit
	rest.PersistentVolumeClaimRetentionPolicy = o.PersistentVolumeClaimRetentionPolicy
	if !apiequality.Semantic.DeepEqual(rest, o) {
		c.forbidden(at("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "+
			"'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")
	}
	return c.errs
}
