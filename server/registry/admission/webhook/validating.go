package webhook

import (
	"context"
	"fmt"
	"sync"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

const validatingNote = "validating.webhook.admission.k8s.io/"

// parallel is how many validating webhooks one request asks at once.
const parallel = 32

// Validating is the plugin that lets webhooks refuse what is written.
func Validating(c Config) registry.Plugin {
	hs := &hooks{Config: &c, kind: c.Catalogue.ByObject(&admissionv1.ValidatingWebhookConfiguration{}), of: func(obj api.Object) (list []admissionv1.MutatingWebhook) {
		webhooks := obj.(*admissionv1.ValidatingWebhookConfiguration).Webhooks
		for i := range webhooks {
			list = append(list, api.AsMutating(&webhooks[i]))
		}
		return list
	}}
	return registry.Plugin{Name: "ValidatingAdmissionWebhook", Validate: hs.validate}
}

// question is one webhook's, and what came of it.
type question struct {
	*hook
	index  int
	review *review
	answer *reviewv1.AdmissionResponse
	err    error
}

func (hs *hooks) validate(ctx context.Context, a *registry.Attributes) error {
	questions, err := hs.questions(ctx, a)
	if err != nil || len(questions) == 0 {
		return err
	}
	if err := ended(ctx); err != nil {
		return err
	}
	// The goroutines touch nothing of the request but their question: views were encoded before.
	limit := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	for _, q := range questions {
		if q.err != nil {
			continue
		}
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			defer func() {
				if r := recover(); r != nil {
					q.err = &callError{q.Name, fmt.Errorf("panic: %v", r)}
				}
			}()
			q.answer, q.err = hs.ask(ctx, q.hook, q.review, false)
		})
	}
	wg.Wait()
	var first error
	for _, q := range questions {
		if err := hs.verdict(ctx, a, q); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// questions of the webhooks that are about the request.
func (hs *hooks) questions(ctx context.Context, a *registry.Attributes) (out []*question, err error) {
	m, snap := hs.subject(a)
	if m == nil {
		return nil, nil
	}
	for i, h := range hs.all(snap) {
		t, ok, err := hs.wants(ctx, h, m)
		if err != nil {
			return nil, err
		}
		if ok {
			q := &question{hook: h, index: i}
			q.review, q.err = prepare(h, m, t)
			out = append(out, q)
		}
	}
	return out, nil
}

func (hs *hooks) verdict(ctx context.Context, a *registry.Attributes, q *question) error {
	if q.err != nil {
		return hs.forgive(ctx, q.hook, q.err, func() { a.Note(failedOpen(validatingNote, 0, q.index), q.Name, false) })
	}
	tell(a, q.hook, q.answer)
	if !q.answer.Allowed {
		return refusal(q.Name, q.answer.Result)
	}
	return nil
}
