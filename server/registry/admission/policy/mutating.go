package policy

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/cel"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
)

const mutatingName = "MutatingAdmissionPolicy"

// mutating is a compiled MutatingAdmissionPolicy.
type mutating struct {
	*frame
	mutations []mutation
	again     bool // in the second round, if need be
}

type mutation struct {
	patchType admissionv1.PatchType
	program   *cel.Program
}

func compileMutating(p *admissionv1.MutatingAdmissionPolicy) *mutating {
	m := &mutating{frame: newFrame(p.Name, p.Spec.FailurePolicy, p.Spec.ParamKind, p.Spec.MatchConstraints, p.Spec.MatchConditions, p.Spec.Variables),
		again: p.Spec.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy}
	if m.err != nil {
		return m
	}
	o := m.options()
	o.Patch = true
	for _, one := range p.Spec.Mutations {
		switch {
		case one.PatchType == admissionv1.PatchTypeJSONPatch && one.JSONPatch != nil:
			m.mutations = append(m.mutations, mutation{one.PatchType, m.compiler.Compile(one.JSONPatch.Expression, o, cel.JSONPatch)})
		case one.PatchType == admissionv1.PatchTypeApplyConfiguration && one.ApplyConfiguration != nil:
			m.mutations = append(m.mutations, mutation{one.PatchType, m.compiler.Compile(one.ApplyConfiguration.Expression, o, cel.ApplyConfiguration)})
		}
	}
	return m
}

type mutatingPlugin struct {
	*Config
	policies, bindings *api.Kind
	compiled           match.Cache[*mutating]
	bound              match.Cache[*binding]
}

// Mutating is the plugin that lets policies change what is written.
func Mutating(c Config) registry.Plugin {
	p := &mutatingPlugin{Config: &c, policies: c.Catalogue.ByObject(&admissionv1.MutatingAdmissionPolicy{}),
		bindings: c.Catalogue.ByObject(&admissionv1.MutatingAdmissionPolicyBinding{})}
	return registry.Plugin{Name: mutatingName, Admit: p.mutate}
}

// rounds is what is remembered of the first round for the second.
type rounds struct {
	asked, again map[string]bool
	last         runtime.Object
}

func (r *rounds) changed() {
	for key := range r.asked {
		r.again[key] = true
	}
	clear(r.asked)
}

func (p *mutatingPlugin) mutate(ctx context.Context, a *registry.Attributes) error {
	if a.Verb == registry.VerbDelete || a.Object == nil {
		return nil
	}
	m, _ := p.subject(a, p.policies, p.bindings)
	if m == nil {
		return nil
	}
	memory := registry.Memo(a, mutatingName, func() *rounds { return &rounds{asked: map[string]bool{}, again: map[string]bool{}} })
	if a.Round() > 0 && memory.last != nil && !apiequality.Semantic.DeepEqual(memory.last, a.Object) {
		memory.changed()
	}
	var failures []failure
	var reason metav1.StatusReason
	invocations, policies := p.invocations(ctx, m, &failures)
	for i, in := range invocations {
		changed, err := p.one(in, policies[i], memory)
		if changed {
			memory.changed()
			a.Again()
		}
		if policies[i].again && err == nil {
			memory.asked[in.key()] = true
		}
		var status *apierrors.StatusError
		if errors.As(err, &status) {
			return status
		}
		if err != nil && !in.frame.ignore {
			failures, reason = append(failures, failure{in.frame.name, in.binding.name, err}), metav1.StatusReasonInvalid
		}
	}
	if len(memory.asked) > 0 {
		memory.last = a.Object.DeepCopyObject()
	}
	return denied(m, failures, reason)
}

// invocations of all policies that are about the subject, in order, and their policies.
func (p *mutatingPlugin) invocations(ctx context.Context, m *match.Subject, failures *[]failure) (out []*invocation, of []*mutating) {
	snap := p.Snapshot()
	live, liveBindings := snap.Count(p.policies, ""), snap.Count(p.bindings, "")
	compiled := func(obj api.Object) *binding {
		return p.bound.Get(obj, liveBindings, func() *binding {
			b := obj.(*admissionv1.MutatingAdmissionPolicyBinding)
			return newBinding(b.Name, b.Spec.MatchResources, b.Spec.ParamRef, nil)
		})
	}
	for obj := range snap.List(p.policies, "", "") {
		policy := p.compiled.Get(obj, live, func() *mutating { return compileMutating(obj.(*admissionv1.MutatingAdmissionPolicy)) })
		failed := func(f failure) {
			what := "policy"
			if f.binding != "" {
				what = "binding"
			}
			if !policy.ignore {
				f.err = fmt.Errorf("failed to configure %s: %w", what, f.err)
				*failures = append(*failures, f)
			}
		}
		if policy.criteria == nil {
			failed(failure{policy.name, "", policy.err})
			continue
		}
		t, ok, err := policy.criteria.Match(m)
		if err == nil && ok && policy.err != nil {
			err = policy.err
		}
		if err != nil {
			failed(failure{policy.name, "", err})
		} else if ok {
			for _, in := range p.Config.bound(ctx, m, snap, t, policy.frame, p.bindings, compiled, failed) {
				out, of = append(out, in), append(of, policy)
			}
		}
	}
	return out, of
}

// key names an invocation among those of one request.
func (in *invocation) key() string {
	key := in.frame.name + "/" + in.binding.name
	if p, ok := in.param.(metav1.Object); ok {
		key += "/" + p.GetNamespace() + "/" + p.GetName()
	}
	return key
}

// one makes the mutations of one invocation.
func (p *mutatingPlugin) one(in *invocation, policy *mutating, memory *rounds) (changed bool, err error) {
	matched, err := policy.matched(in)
	if err != nil || !matched {
		return false, err
	}
	if in.subject.Round() > 0 && !memory.again[in.key()] {
		return false, nil
	}
	var failed []error
	for _, m := range policy.mutations {
		done, err := in.mutate(m)
		changed = changed || done
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 {
		return changed, failed[0]
	}
	return changed, nil
}

// denied is the refusal for policies that could not be applied.
func denied(m *match.Subject, failures []failure, reason metav1.StatusReason) error {
	if len(failures) == 0 {
		return nil
	}
	err := apierrors.NewForbidden(m.Asked.Resource.GroupResource(), m.Name, errors.New("admission request denied by policy"))
	for i, f := range failures {
		text := fmt.Sprintf("policy %q denied request: %v", f.policy, f.err)
		if f.binding != "" {
			text = fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", f.policy, f.binding, f.err)
		}
		if i == 0 {
			err.ErrStatus.Message = text
			if reason != "" {
				err.ErrStatus.Reason = reason
			}
		}
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	}
	return err
}
