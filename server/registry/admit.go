package registry

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// admit runs the mutating half of admission, in the table's order, and once more if a plugin asked for it.
func (r *Registry) admit(ctx context.Context, a *Attributes) error {
	if err := r.admitOnce(ctx, a); err != nil || !a.again {
		return err
	}
	a.round++
	return r.admitOnce(ctx, a)
}

func (r *Registry) admitOnce(ctx context.Context, a *Attributes) (err error) {
	watch := r.metrics.start(typeAdmit, a.Verb)
	defer func() { watch.step(err) }()
	for i := range r.admission {
		if p := &r.admission[i]; p.Admit != nil {
			err := p.Admit(ctx, a)
			watch.plugin(p.Name, err)
			if err != nil {
				return statusError(a.Kind, "admission "+p.Name+" of", a.Name, err)
			}
		}
	}
	return nil
}

// validate runs the validating half.
func (r *Registry) validate(ctx context.Context, a *Attributes) (err error) {
	watch := r.metrics.start(typeValidate, a.Verb)
	defer func() { watch.step(err) }()
	for i := range r.admission {
		if p := &r.admission[i]; p.Validate != nil {
			err := p.Validate(ctx, a)
			watch.plugin(p.Name, err)
			if err != nil {
				return statusError(a.Kind, "admission "+p.Name+" of", a.Name, err)
			}
		}
	}
	return nil
}

// Round of mutating admission: 0, and 1 when a plugin called Again in the first. Every plugin runs in both, and must
// bear to meet its own work.
func (a *Attributes) Round() int { return a.round }

// Again asks for a second round, for the plugins that should see what a later one changed. There is no third.
func (a *Attributes) Again() { a.again = true }

// Memo returns what a plugin keeps about this write, from one round to the next; make makes it the first time.
func Memo[T any](a *Attributes, plugin string, make func() T) T {
	if have, ok := a.memos[plugin].(T); ok {
		return have
	}
	made := make()
	if a.memos == nil {
		a.memos = map[string]any{}
	}
	a.memos[plugin] = made
	return made
}

// Note adds an annotation to the audit event, if there is one. body: value shows what the object holds.
func (req *Request) Note(key, value string, body bool) {
	if req.Annotate != nil {
		req.Annotate(key, value, body)
	}
}

// dryRun is how options say what a request is.
func (req *Request) dryRun() []string {
	if req.DryRun {
		return []string{metav1.DryRunAll}
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
