package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	tokencache "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	webhooktoken "k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	webhookauthorizer "k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	authorizermetrics "k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
	authenticationv1client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// How long the API server's answers are remembered, as upstream's kubelet does by default.
const (
	tokenTTL      = 2 * time.Minute
	allowedTTL    = 5 * time.Minute
	deniedTTL     = 30 * time.Second
	reviewTimeout = 10 * time.Second
)

// Webhook asks the API server who a bearer token is (TokenReview) and what a caller may do (SubjectAccessReview). Whom [Certificates] trusts
// is not asked about: it is the API server itself. Nobody is anonymous. It costs nothing before the first caller.
type Webhook struct {
	nodeName string
	parts    func() (delegates, error)
}

type delegates struct {
	tokens authenticator.Request
	access authorizer.Authorizer
}

// NewWebhook returns an authorizer for the node. The clients should have a rate limit of their own, so that strangers who guess tokens
// do not hold up the node's other requests.
func NewWebhook(nodeName string, tokens authenticationv1client.AuthenticationV1Interface, access authorizationv1client.AuthorizationV1Interface) *Webhook {
	return &Webhook{nodeName: nodeName, parts: sync.OnceValues(func() (d delegates, err error) {
		backoff := *webhooktoken.DefaultRetryBackoff()
		reviewer, err := webhooktoken.NewFromInterface(tokens, nil, backoff, reviewTimeout, webhooktoken.AuthenticatorMetrics{
			RecordRequestTotal: noTotal, RecordRequestLatency: noLatency})
		if err != nil {
			return d, fmt.Errorf("token reviews: %w", err)
		}
		d.tokens = bearertoken.New(tokencache.New(reviewer, false, tokenTTL, tokenTTL))
		d.access, err = webhookauthorizer.NewFromInterface(access, allowedTTL, deniedTTL, backoff, authorizer.DecisionNoOpinion, authorizermetrics.NoopAuthorizerMetrics{}, nil)
		if err != nil {
			return d, fmt.Errorf("access reviews: %w", err)
		}
		return d, nil
	})}
}

// Authorize implements Authorizer.
func (h *Webhook) Authorize(r *http.Request, a Attributes) error {
	if err := (Certificates{}).Authorize(r, a); err == nil {
		return nil
	}
	d, err := h.parts()
	if err != nil {
		return err
	}
	who, err := caller(r, d.tokens)
	if err != nil {
		return err
	}
	for _, sub := range a.Subresources {
		decision, _, err := d.access.Authorize(r.Context(), authorizer.AttributesRecord{User: who, Verb: a.Verb, APIVersion: "v1", Resource: "nodes",
			Subresource: sub, Name: h.nodeName, ResourceRequest: true, Path: r.URL.Path})
		if err != nil {
			//lint:ignore ST1005 the client sees upstream's words
			return fmt.Errorf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", who.GetName(), a.Verb, sub)
		}
		if decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return a.forbidden(who.GetName())
}

// caller is whom the certificate names, or else the token.
func caller(r *http.Request, tokens authenticator.Request) (user.Info, error) {
	if name, groups, ok := peer(r); ok {
		return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}, nil
	}
	got, ok, err := tokens.AuthenticateRequest(r)
	if err != nil || !ok {
		return nil, errors.Join(ErrUnauthenticated, err)
	}
	return got.User, nil
}

func noTotal(context.Context, string)            {}
func noLatency(context.Context, string, float64) {}
