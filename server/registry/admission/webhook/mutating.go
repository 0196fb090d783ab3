package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	reviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
)

const mutatingName = "MutatingAdmissionWebhook"

// Mutating is the plugin that lets webhooks change what is written.
func Mutating(c Config) registry.Plugin {
	hs := &hooks{Config: &c, kind: c.Catalogue.ByObject(&admissionv1.MutatingWebhookConfiguration{}), of: func(obj api.Object) []admissionv1.MutatingWebhook {
		return obj.(*admissionv1.MutatingWebhookConfiguration).Webhooks
	}}
	return registry.Plugin{Name: mutatingName, Admit: hs.mutate}
}

// rounds is what is remembered of the first round for the second: who was asked and wants to be asked again if the
// object changes after him.
type rounds struct {
	asked map[string]bool
	again map[string]bool
	last  runtime.Object
}

// changed makes everybody who was asked, and wants it, be asked again.
func (r *rounds) changed() {
	for key := range r.asked {
		r.again[key] = true
	}
	clear(r.asked)
}

func (hs *hooks) mutate(ctx context.Context, a *registry.Attributes) error {
	m, snap := hs.subject(a)
	if m == nil {
		return nil
	}
	memory := registry.Memo(a, mutatingName, func() *rounds { return &rounds{asked: map[string]bool{}, again: map[string]bool{}} })
	if a.Round() > 0 && memory.last != nil && !apiequality.Semantic.DeepEqual(memory.last, a.Object) {
		memory.changed() // by another plugin
	}
	for i, h := range hs.all(snap) {
		t, ok, err := hs.wants(ctx, h, m)
		if err != nil {
			return err
		}
		if !ok || a.Round() > 0 && !memory.again[h.key()] {
			continue
		}
		changed, err := hs.mutateBy(ctx, h, i, m, t)
		if changed {
			memory.changed()
			a.Again()
		}
		if h.ReinvocationPolicy != nil && *h.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy {
			memory.asked[h.key()] = true
		}
		if err := hs.forgive(ctx, h, err, func() { a.Note(failedOpen(mutationNote, a.Round(), i), h.Name, false) }); err != nil {
			return err
		}
	}
	if len(memory.asked) > 0 && a.Object != nil {
		memory.last = a.Object.DeepCopyObject()
	}
	return nil
}

// forgive applies the failure policy to the error of one webhook. open is called when a failure is let pass.
func (c *Config) forgive(ctx context.Context, h *hook, err error, open func()) error {
	var failed *callError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &failed):
		return err
	case !h.ignoresFailure():
		return apierrors.NewInternalError(err)
	}
	c.Log.Warn("a webhook failed, and its policy lets that pass", "configuration", h.configuration, "webhook", h.Name, "error", failed.reason)
	open()
	return ended(ctx)
}

const mutationNote = "mutation.webhook.admission.k8s.io/"

func failedOpen(prefix string, round, index int) string {
	return fmt.Sprintf("failed-open.%sround_%d_index_%d", prefix, round, index)
}

// mutateBy asks one webhook and does what it says.
func (hs *hooks) mutateBy(ctx context.Context, h *hook, index int, m *match.Subject, t match.Target) (changed bool, err error) {
	defer func() {
		note, _ := json.Marshal(map[string]any{"configuration": h.configuration, "webhook": h.Name, "mutated": changed})
		m.Note(fmt.Sprintf("%sround_%d_index_%d", mutationNote, m.Round(), index), string(note), false)
	}()
	r, err := prepare(h, m, t)
	if err != nil {
		return false, err
	}
	answer, err := hs.ask(ctx, h, r, true)
	if err != nil {
		return false, err
	}
	tell(m.Attributes, h, answer)
	if !answer.Allowed {
		return false, refusal(h.Name, answer.Result)
	}
	return hs.patch(h, index, m, t, answer)
}

// patch applies what a webhook answered.
func (hs *hooks) patch(h *hook, index int, m *match.Subject, t match.Target, answer *reviewv1.AdmissionResponse) (bool, error) {
	if len(answer.Patch) == 0 {
		return false, nil
	}
	patch, err := match.DecodePatch(answer.Patch)
	if err != nil {
		return false, &callError{h.Name, fmt.Errorf("received undecodable patch in webhook response: %w", err)}
	}
	if len(patch) == 0 {
		return false, nil
	}
	if m.Object == nil {
		return false, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", h.Name))
	}
	if *answer.PatchType != reviewv1.PatchTypeJSONPatch {
		return false, &callError{h.Name, fmt.Errorf("unsupported patch type %q", *answer.PatchType)}
	}
	changed, err := m.PatchJSON(t, patch)
	if err != nil {
		var status apierrors.APIStatus
		if errors.As(err, &status) {
			return false, err
		}
		return false, apierrors.NewInternalError(err)
	}
	note, _ := json.Marshal(map[string]any{"configuration": h.configuration, "webhook": h.Name, "patch": patch, "patchType": "JSONPatch"})
	m.Note(fmt.Sprintf("patch.webhook.admission.k8s.io/round_%d_index_%d", m.Round(), index), string(note), true)
	return changed, nil
}
