package policy

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/cel"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
	"codeberg.org/skiff/skiff/server/store"
)

// invocation is one policy with one of its bindings and one parameter, for one request.
type invocation struct {
	ctx     context.Context
	config  *Config
	subject *match.Subject
	target  match.Target
	frame   *frame
	binding *binding
	param   runtime.Object
}

// evaluation of the policy's expressions. namespaced: they see the namespace, which match conditions do not.
func (in *invocation) evaluation(namespaced bool) (*cel.Evaluation, error) {
	view, err := in.subject.View(in.target)
	if err != nil {
		return nil, err
	}
	input := cel.Input{
		Object: view.Object, Old: view.Old, Params: in.param, Request: in.subject.Request(in.target),
		User: in.subject.User, Resource: in.subject, Authorizer: in.config.Authorizer,
	}
	if namespaced {
		if input.Namespace, err = in.subject.NamespaceObject(); err != nil {
			return nil, err
		}
	}
	return in.frame.compiler.NewEvaluation(input), nil
}

// bound yields the invocations of one policy, which is about the subject's target t, and what is wrong with its bindings.
func (c *Config) bound(ctx context.Context, m *match.Subject, s *store.Snapshot, t match.Target, f *frame, kind *api.Kind,
	compiled func(api.Object) *binding, failed func(failure)) (out []*invocation) {
	for obj := range s.ByIndex(kind, api.IndexPolicyName, f.name) {
		b := compiled(obj)
		if b.err != nil {
			failed(failure{f.name, b.name, b.err})
			continue
		}
		if b.criteria != nil {
			_, ok, err := b.criteria.Match(m)
			if err != nil {
				failed(failure{f.name, b.name, err})
			}
			if !ok {
				continue
			}
		}
		params, err := c.parameters(s, f.params, b.params, m.Namespace)
		if err != nil {
			failed(failure{f.name, b.name, err})
			continue
		}
		for _, p := range params {
			out = append(out, &invocation{ctx, c, m, t, f, b, p})
		}
	}
	return out
}
