package registry

import (
	"context"
	"fmt"
)

// The verbs of admission.
const (
	VerbCreate  = "CREATE"
	VerbUpdate  = "UPDATE"
	VerbDelete  = "DELETE"
	VerbConnect = "CONNECT"
)

// Connect runs admission for a stream (exec, attach, port-forward, proxy), which the apiserver serves itself.
func (r *Registry) Connect(ctx context.Context, a *Attributes) error {
	a.Verb = VerbConnect
	defer a.finish(false)
	if err := r.admit(ctx, a); err != nil {
		return err
	}
	return r.validate(ctx, a)
}

// admit runs the mutating half of admission, in the table's order.
func (r *Registry) admit(ctx context.Context, a *Attributes) error {
	for i := range r.admission {
		if p := &r.admission[i]; p.Admit != nil {
			if err := p.Admit(ctx, a); err != nil {
				return statusError(a.Kind, "admission "+p.Name+" of", a.Name, err)
			}
		}
	}
	return nil
}

// validate runs the validating half.
func (r *Registry) validate(ctx context.Context, a *Attributes) error {
	for i := range r.admission {
		if p := &r.admission[i]; p.Validate != nil {
			if err := p.Validate(ctx, a); err != nil {
				return statusError(a.Kind, "admission "+p.Name+" of", a.Name, err)
			}
		}
	}
	return nil
}

// finish tells the plugins that asked for it how the write ended.
func (a *Attributes) finish(stored bool) {
	for _, f := range a.after {
		f(stored)
	}
	a.after = nil
}

// Warnf adds a Warning header, if the caller takes any.
func (req *Request) Warnf(format string, args ...any) {
	if req.Warn != nil {
		req.Warn(fmt.Sprintf(format, args...))
	}
}
