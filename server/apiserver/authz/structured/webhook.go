package structured

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"

	"codeberg.org/skiff/skiff/server/apiserver/authz"
)

// remote asks a webhook. Kubernetes' own client does the asking, the conditions, the retries and the remembering.
type remote struct {
	name string
	ask  *webhook.WebhookAuthorizer
}

func newWebhook(c *apiserver.AuthorizerConfiguration, compiler authorizationcel.Compiler) (authz.Authorizer, error) {
	w := c.Webhook
	client, err := webhookutil.LoadKubeconfig(*w.ConnectionInfo.KubeConfigFile, nil)
	if err != nil {
		return nil, err
	}
	if w.Timeout.Duration != 0 {
		client.Timeout = w.Timeout.Duration
	}
	onError := authorizer.DecisionDeny
	if w.FailurePolicy == apiserver.FailurePolicyNoOpinion {
		onError = authorizer.DecisionNoOpinion
	}
	allowed, refused := w.AuthorizedTTL.Duration, w.UnauthorizedTTL.Duration
	if !w.CacheAuthorizedRequests {
		allowed = 0
	}
	if !w.CacheUnauthorizedRequests {
		refused = 0
	}
	ask, err := webhook.New(client, w.SubjectAccessReviewVersion, allowed, refused, *webhook.DefaultRetryBackoff(), onError, w.MatchConditions, c.Name, metrics.NoopAuthorizerMetrics{}, compiler)
	if err != nil {
		return nil, err
	}
	return &remote{c.Name, ask}, nil
}

// Opinion of the webhook; when it fails, by its failurePolicy.
func (r *remote) Opinion(ctx context.Context, a *authz.Attributes) (authz.Decision, string) {
	decision, reason, err := r.ask.Authorize(ctx, record(a))
	if err != nil {
		reason = fmt.Sprintf("authorization webhook %s: %v", r.name, err)
	}
	switch decision {
	case authorizer.DecisionAllow:
		return authz.Allow, reason
	case authorizer.DecisionDeny:
		return authz.Deny, reason
	}
	return authz.NoOpinion, reason
}

// record shows the attributes as Kubernetes' libraries want them.
func record(a *authz.Attributes) authorizer.AttributesRecord {
	if !a.IsResource() {
		return authorizer.AttributesRecord{User: a.User, Verb: a.Verb, Path: a.Path}
	}
	out := authorizer.AttributesRecord{User: a.User, Verb: a.Verb, APIGroup: a.Group, APIVersion: a.Version, Resource: a.Resource,
		Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name, ResourceRequest: true}
	// A selector that does not parse is left out: what is asked for is then more, never less.
	if a.Fields != "" {
		if selector, err := fields.ParseSelector(a.Fields); err == nil {
			out.FieldSelectorRequirements = selector.Requirements()
		}
	}
	if a.Labels != "" {
		if selector, err := labels.Parse(a.Labels); err == nil {
			out.LabelSelectorRequirements, _ = selector.Requirements()
		}
	}
	return out
}
