package admission

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	psconfig "k8s.io/pod-security-admission/admission/api"
	psapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"codeberg.org/skiff/skiff/server/registry"
)

// privileged is what namespaces without labels get unless the configuration says otherwise: everything is allowed.
var privileged = psapi.Policy{
	Enforce: psapi.LevelVersion{Level: psapi.LevelPrivileged, Version: psapi.LatestVersion()},
	Warn:    psapi.LevelVersion{Level: psapi.LevelPrivileged, Version: psapi.LatestVersion()},
	Audit:   psapi.LevelVersion{Level: psapi.LevelPrivileged, Version: psapi.LatestVersion()},
}

type securityGuard struct {
	*Config
	evaluator policy.Evaluator
	// defaults are for what a namespace's labels leave out.
	defaults psapi.Policy
	exempt   exemptions
}

// podSecurity holds pods to the Pod Security Standard that the labels of their namespace name; what makes pods is only
// warned about.
//
// For pods with hostUsers: false the library's checks ask for less, as upstream's. That is right only because every node either makes the user
// namespace or makes no sandbox (agent/kubelet/honour.go): such a pod never runs as the host's root.
func podSecurity(c *Config) (registry.Plugin, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return registry.Plugin{}, fmt.Errorf("pod security: %w", err)
	}
	g := &securityGuard{Config: c, evaluator: evaluator, defaults: privileged}
	if config := c.Settings.PodSecurity; config != nil {
		if g.defaults, err = psconfig.ToPolicy(config.Defaults); err != nil {
			return registry.Plugin{}, fmt.Errorf("pod security: %w", err)
		}
		g.exempt = newExemptions(config.Exemptions)
	}
	return registry.Plugin{Name: "PodSecurity", Validate: func(_ context.Context, a *registry.Attributes) error {
		if a.Verb != registry.VerbCreate && a.Verb != registry.VerbUpdate {
			return nil
		}
		if ns, ok := a.Object.(*corev1.Namespace); ok && a.Subresource == "" {
			return g.namespace(a, ns)
		}
		return g.workload(a)
	}}, nil
}

// namespace checks the labels, and warns of running pods that a stricter level would not have let in.
func (g *securityGuard) namespace(a *registry.Attributes, ns *corev1.Namespace) error {
	want, errs := psapi.PolicyToEvaluate(ns.Labels, g.defaults)
	old, had := a.Old.(*corev1.Namespace)
	before := g.defaults
	if had {
		var oldErrs int
		p, e := psapi.PolicyToEvaluate(old.Labels, g.defaults)
		if before, oldErrs = p, len(e); len(errs) > 0 && oldErrs > 0 {
			return nil // it was wrong before: do not keep other labels from being changed
		}
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(groupKind(a.Kind), ns.Name, errs)
	}
	if !had || want.Enforce.Equivalent(&before.Enforce) || psapi.CompareLevels(want.Enforce.Level, before.Enforce.Level) < 1 && want.Enforce.Version == before.Enforce.Version {
		return nil
	}
	if g.exempt.namespaces.Has(ns.Name) {
		return nil
	}
	first := true
	for _, p := range list[*corev1.Pod](g.Config, g.Store.Snapshot(), ns.Name) {
		if g.exempt.runtimeClass(&p.Spec) {
			continue
		}
		result := policy.AggregateCheckResults(g.evaluator.EvaluatePod(want.Enforce, &p.ObjectMeta, &p.Spec))
		if result.Allowed {
			continue
		}
		if first {
			a.Warnf("existing pods in namespace %q violate the new PodSecurity enforce level %q", ns.Name, want.Enforce.String())
			first = false
		}
		a.Warnf("%s: %s", p.Name, result.ForbiddenReason())
	}
	return nil
}

func (g *securityGuard) workload(a *registry.Attributes) error {
	meta, spec, enforce := podSpecOf(a)
	if spec == nil {
		return nil
	}
	ns, ok := get[*corev1.Namespace](g.Config, "", a.Namespace)
	if !ok {
		return nil
	}
	// A label that does not parse means restricted, which the returned policy says.
	want, errs := psapi.PolicyToEvaluate(ns.Labels, g.defaults)
	if want.FullyPrivileged() && len(errs) == 0 || g.exempt.from(a, spec) {
		return nil
	}
	if len(errs) > 0 {
		a.Note(psapi.AuditAnnotationPrefix+"error", fmt.Sprintf("Failed to parse policy: %v", errs.ToAggregate()), false)
	}
	if detail := g.violations(want.Audit, meta, spec); detail != "" {
		a.Note(psapi.AuditAnnotationPrefix+psapi.AuditViolationsAnnotationKey, fmt.Sprintf("would violate PodSecurity %q: %s", want.Audit.String(), detail), false)
	}
	if enforce {
		a.Note(psapi.AuditAnnotationPrefix+psapi.EnforcedPolicyAnnotationKey, want.Enforce.String(), false)
		if detail := g.violations(want.Enforce, meta, spec); detail != "" {
			return forbidden(a, "violates PodSecurity %q: %s", want.Enforce.String(), detail)
		}
	}
	if detail := g.violations(want.Warn, meta, spec); detail != "" {
		a.Warnf("would violate PodSecurity %q: %s", want.Warn.String(), detail)
	}
	return nil
}

func (g *securityGuard) violations(level psapi.LevelVersion, meta *metav1.ObjectMeta, spec *corev1.PodSpec) string {
	result := policy.AggregateCheckResults(g.evaluator.EvaluatePod(level, meta, spec))
	if result.Allowed {
		return ""
	}
	return result.ForbiddenDetail()
}

// podSpecOf finds the pod in a request, and whether it is one itself. An update that leaves it as it was is not looked at.
func podSpecOf(a *registry.Attributes) (*metav1.ObjectMeta, *corev1.PodSpec, bool) {
	if a.Subresource != "" && a.Subresource != "ephemeralcontainers" {
		return nil, nil, false
	}
	meta, spec := templateOf(a.Object)
	if spec == nil {
		return nil, nil, false
	}
	if oldMeta, old := templateOf(a.Old); old != nil && apiequality.Semantic.DeepEqual(old, spec) &&
		apiequality.Semantic.DeepEqual(oldMeta.Annotations, meta.Annotations) {
		return nil, nil, false
	}
	_, isPod := a.Object.(*corev1.Pod)
	return meta, spec, isPod
}

func templateOf(obj runtime.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	var t *corev1.PodTemplateSpec
	switch o := obj.(type) {
	case *corev1.Pod:
		return &o.ObjectMeta, &o.Spec
	case *corev1.PodTemplate:
		t = &o.Template
	case *corev1.ReplicationController:
		t = o.Spec.Template
	case *appsv1.ReplicaSet:
		t = &o.Spec.Template
	case *appsv1.Deployment:
		t = &o.Spec.Template
	case *appsv1.DaemonSet:
		t = &o.Spec.Template
	case *appsv1.StatefulSet:
		t = &o.Spec.Template
	case *batchv1.Job:
		t = &o.Spec.Template
	case *batchv1.CronJob:
		t = &o.Spec.JobTemplate.Spec.Template
	}
	if t == nil {
		return nil, nil
	}
	return &t.ObjectMeta, &t.Spec
}
