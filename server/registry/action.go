package registry

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

type actionKey struct{ group, resource, subresource string }

// act runs the action that serves what the request names. found is false if there is none.
func (r *Registry) act(ctx context.Context, req Request, body runtime.Object) (out runtime.Object, found bool, err error) {
	action, found := r.actions[actionKey{req.Kind.Group, req.Kind.Plural, req.Subresource}]
	if !found {
		return nil, false, nil
	}
	a := &Attributes{Request: req, Verb: VerbCreate, Object: body, Options: &metav1.CreateOptions{FieldManager: req.FieldManager, DryRun: req.dryRun()}}
	stored := false
	defer func() { a.finish(stored) }()
	if err := r.admit(ctx, a); err != nil {
		return nil, true, err
	}
	if err := r.validate(ctx, a); err != nil {
		return nil, true, err
	}
	out, err = action.Run(ctx, r, req, a.Object)
	stored = err == nil
	return out, true, err
}

func methodNotSupported(req Request, verb string) error {
	gr := req.Kind.GroupResource()
	if req.Subresource != "" {
		gr.Resource += "/" + req.Subresource
	}
	return apierrors.NewMethodNotSupported(gr, verb)
}
