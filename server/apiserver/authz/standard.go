package authz

import (
	"context"

	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Standard shows a chain as the authorizer that Kubernetes' libraries ask: CEL expressions of admission.
func Standard(c Chain) authorizer.UnconditionalAuthorizer { return standard{c} }

type standard struct{ chain Chain }

func (s standard) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	ask := &Attributes{User: a.GetUser(), Verb: a.GetVerb(), Group: a.GetAPIGroup(), Version: a.GetAPIVersion(), Resource: a.GetResource(),
		Subresource: a.GetSubresource(), Namespace: a.GetNamespace(), Name: a.GetName()}
	if !a.IsResourceRequest() {
		ask = &Attributes{User: a.GetUser(), Verb: a.GetVerb(), Path: a.GetPath()}
	}
	if requirements, err := a.GetFieldSelector(); err == nil && len(requirements) > 0 {
		for i, r := range requirements {
			if i > 0 {
				ask.Fields += ","
			}
			ask.Fields += r.Field + string(r.Operator) + r.Value
		}
	}
	switch decision, reason := s.chain.Opinion(ctx, ask); decision {
	case Allow:
		return authorizer.DecisionAllow, reason, nil
	case Deny:
		return authorizer.DecisionDeny, reason, nil
	default:
		return authorizer.DecisionNoOpinion, reason, nil
	}
}
