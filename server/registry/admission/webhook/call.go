package webhook

import (
	"context"
	"fmt"
	"time"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
)

// callError says that a webhook gave no answer, or none that can be used. The failure policy decides what follows.
type callError struct {
	webhook string
	reason  error
}

func (e *callError) Error() string {
	return fmt.Sprintf("failed calling webhook %q: %v", e.webhook, e.reason)
}

func (e *callError) Unwrap() error { return e.reason }

// prepare encodes the question, once nothing forbids to ask it.
func prepare(h *hook, m *match.Subject, t match.Target) (*review, error) {
	if m.DryRun && (h.SideEffects == nil || *h.SideEffects != admissionv1.SideEffectClassNone && *h.SideEffects != admissionv1.SideEffectClassNoneOnDryRun) {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", h.Name))
	}
	r, err := newReview(h.AdmissionReviewVersions, m, t)
	if err != nil {
		return nil, &callError{h.Name, fmt.Errorf("could not create admission objects: %w", err)}
	}
	return r, nil
}

// ask sends the question and waits for the answer.
func (c *Config) ask(ctx context.Context, h *hook, r *review, mutating bool) (*reviewv1.AdmissionResponse, error) {
	data, err := c.Post(ctx, &h.ClientConfig, within(ctx, h.timeout()), r.body)
	if err != nil {
		return nil, &callError{h.Name, fmt.Errorf("failed to call webhook: %w", err)}
	}
	answer, err := r.verify(data, mutating)
	if err != nil {
		return nil, &callError{h.Name, fmt.Errorf("received invalid webhook response: %w", err)}
	}
	return answer, nil
}

// within is the timeout, or what the request has left if that is less, in whole seconds.
func within(ctx context.Context, timeout time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return timeout
	}
	left := time.Until(deadline)
	if whole := left.Truncate(time.Second); whole != left {
		left = whole + time.Second
	}
	return max(min(left, timeout), time.Second)
}

// Of the warnings of one webhook.
const (
	maxWarnings     = 100
	maxWarning      = 256
	maxWarningBytes = 4096
)

// tell passes on what an answer says beside its decision.
func tell(a *registry.Attributes, h *hook, answer *reviewv1.AdmissionResponse) {
	for key, value := range answer.AuditAnnotations {
		if key = h.Name + "/" + key; len(validation.IsQualifiedName(key)) == 0 {
			a.Note(key, value, false)
		}
	}
	total := 0
	for _, text := range answer.Warnings[:min(len(answer.Warnings), maxWarnings)] {
		total += len(text)
	}
	sent := 0
	for _, text := range answer.Warnings[:min(len(answer.Warnings), maxWarnings)] {
		if total > maxWarningBytes {
			text = cut(text)
		}
		if sent += len(text); sent > maxWarningBytes {
			return
		}
		a.Warnf("%s", text)
	}
}

// cut keeps the first maxWarning characters.
func cut(text string) string {
	n := 0
	for i := range text {
		if n == maxWarning {
			return text[:i]
		}
		n++
	}
	return text
}

// ended is the error of a request that ran out of time while webhooks were asked; nil if it did not.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
}
