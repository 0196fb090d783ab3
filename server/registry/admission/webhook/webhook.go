package webhook

import (
	"context"
	"iter"
	"log/slog"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/cel"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
	"codeberg.org/skiff/skiff/server/store"
)

// Post sends a JSON body to a webhook and returns the body of its answer. It ends when ctx does or the timeout is over.
type Post func(ctx context.Context, to *admissionv1.WebhookClientConfig, timeout time.Duration, body []byte) ([]byte, error)

// Config of the plugins. All is required but Authorizer, which match conditions ask.
type Config struct {
	Catalogue  *api.Catalogue
	Snapshot   func() *store.Snapshot
	Post       Post
	Authorizer authorizer.UnconditionalAuthorizer
	Log        *slog.Logger
}

// hook is one compiled webhook.
type hook struct {
	admissionv1.MutatingWebhook
	configuration string
	criteria      *match.Criteria
	conditions    []cel.Condition
	compiler      *cel.Compiler
	err           error // why criteria are nil
}

func (h *hook) key() string { return h.configuration + "/" + h.Name }

func (h *hook) ignoresFailure() bool {
	return h.FailurePolicy != nil && *h.FailurePolicy == admissionv1.Ignore
}

func (h *hook) timeout() time.Duration {
	if h.TimeoutSeconds == nil {
		return 10 * time.Second
	}
	return time.Duration(*h.TimeoutSeconds) * time.Second
}

func compile(configuration string, w admissionv1.MutatingWebhook) *hook {
	h := &hook{MutatingWebhook: w, configuration: configuration}
	h.criteria, h.err = match.OfWebhook(&w)
	if len(w.MatchConditions) > 0 {
		h.compiler = cel.NewCompiler(cel.Stored)
		for _, m := range w.MatchConditions {
			h.conditions = append(h.conditions, cel.Condition{Name: m.Name, Program: h.compiler.Compile(m.Expression, cel.Options{Authorizer: true}, cel.Bool)})
		}
	}
	return h
}

// hooks are the webhooks of one kind of configuration.
type hooks struct {
	*Config
	kind  *api.Kind
	cache match.Cache[[]*hook]
	of    func(api.Object) []admissionv1.MutatingWebhook
}

// all yields every webhook there is, with a running index, by name of configuration and then in its order.
func (hs *hooks) all(s *store.Snapshot) iter.Seq2[int, *hook] {
	return func(yield func(int, *hook) bool) {
		live, i := s.Count(hs.kind, ""), 0
		for obj := range s.List(hs.kind, "", "") {
			compiled := hs.cache.Get(obj, live, func() (list []*hook) {
				for _, w := range hs.of(obj) {
					list = append(list, compile(obj.GetName(), w))
				}
				return list
			})
			for _, h := range compiled {
				if !yield(i, h) {
					return
				}
				i++
			}
		}
	}
}

// subject is nil when no webhook is to be asked: there is none, or the request is none of theirs.
func (hs *hooks) subject(a *registry.Attributes) (*match.Subject, *store.Snapshot) {
	if hs.kind == nil {
		return nil, nil
	}
	s := hs.Snapshot()
	if s.Count(hs.kind, "") == 0 || match.Exempt(a.Kind) {
		return nil, nil
	}
	return match.New(a, hs.Catalogue, s), s
}

// wants says whether the webhook is about the subject, and in which version.
func (hs *hooks) wants(ctx context.Context, h *hook, m *match.Subject) (t match.Target, ok bool, err error) {
	if h.err != nil {
		return t, false, apierrors.NewInternalError(h.err)
	}
	if t, ok, err = h.criteria.Match(m); err != nil || !ok || len(h.conditions) == 0 {
		return t, ok, err
	}
	view, err := m.View(t)
	if err != nil {
		return t, false, err
	}
	e := h.compiler.NewEvaluation(cel.Input{Object: view.Object, Old: view.Old, Request: m.Request(t), User: m.User, Resource: m, Authorizer: hs.Authorizer})
	matched, err := cel.Match(ctx, e, h.conditions)
	switch {
	case err == nil:
		return t, matched, nil
	case h.ignoresFailure():
		return t, false, nil
	}
	return t, false, apierrors.NewForbidden(m.Asked.Resource.GroupResource(), m.Name, err)
}
