package admission

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// certificateRequester writes into a certificate signing request who asks, and into its conditions when they were set.
func certificateRequester(c *Config) registry.Plugin {
	return registry.Plugin{Name: "CertificateRequester", Admit: func(_ context.Context, a *registry.Attributes) error {
		csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok {
			return nil
		}
		switch old, _ := a.Old.(*certificatesv1.CertificateSigningRequest); {
		case a.Verb == registry.VerbCreate && a.User != nil:
			csr.Spec.Username, csr.Spec.UID, csr.Spec.Groups, csr.Spec.Extra = a.User.GetName(), a.User.GetUID(), a.User.GetGroups(), nil
			for key, values := range a.User.GetExtra() {
				if csr.Spec.Extra == nil {
					csr.Spec.Extra = map[string]certificatesv1.ExtraValue{}
				}
				csr.Spec.Extra[key] = values
			}
		case a.Verb == registry.VerbUpdate && old != nil && a.Subresource != "":
			stamp(csr.Status.Conditions, old.Status.Conditions, metav1.NewTime(c.now().Truncate(time.Second)))
		}
		return nil
	}}
}

// stamp fills in the times of conditions that say none.
func stamp(conditions, old []certificatesv1.CertificateSigningRequestCondition, now metav1.Time) {
	for i := range conditions {
		c := &conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, was := range old {
			if was.Type == c.Type && was.Status == c.Status && !was.LastTransitionTime.IsZero() {
				c.LastTransitionTime = was.LastTransitionTime
			}
		}
	}
}

// certificateApproval lets only those approve or deny who may "approve" for the signer.
func certificateApproval(c *Config) registry.Plugin {
	return registry.Plugin{Name: "CertificateApproval", Validate: func(ctx context.Context, a *registry.Attributes) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Verb != registry.VerbUpdate || a.Subresource != "approval" {
			return nil
		}
		if !c.maySign(ctx, a, "approve", old.Spec.SignerName) {
			return forbidden(a, "user not permitted to approve requests with signerName %q", old.Spec.SignerName)
		}
		return nil
	}}
}

// certificateSigning lets only those write a certificate, or a condition, who may "sign" for the signer.
func certificateSigning(c *Config) registry.Plugin {
	return registry.Plugin{Name: "CertificateSigning", Validate: func(ctx context.Context, a *registry.Attributes) error {
		old, ok := a.Old.(*certificatesv1.CertificateSigningRequest)
		csr, both := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || !both || a.Verb != registry.VerbUpdate || a.Subresource != "status" {
			return nil
		}
		if bytes.Equal(old.Status.Certificate, csr.Status.Certificate) && apiequality.Semantic.DeepEqual(old.Status.Conditions, csr.Status.Conditions) {
			return nil
		}
		if !c.maySign(ctx, a, "sign", old.Spec.SignerName) {
			return forbidden(a, "user not permitted to sign requests with signerName %q", old.Spec.SignerName)
		}
		return nil
	}}
}

// certificateSubjectRestriction refuses client certificates that would be of an administrator nobody can take back.
func certificateSubjectRestriction() registry.Plugin {
	return registry.Plugin{Name: "CertificateSubjectRestriction", Validate: func(_ context.Context, a *registry.Attributes) error {
		csr, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
		if !ok || a.Verb != registry.VerbCreate || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
			return nil
		}
		request, err := api.ParseCertificateRequest(csr.Spec.Request)
		if err != nil {
			return forbidden(a, "failed to parse CSR: %v", err)
		}
		if slices.Contains(request.Subject.Organization, wellknown.GroupMasters) {
			return forbidden(a, "use of %s signer with %s group is not allowed", certificatesv1.KubeAPIServerClientSignerName, wellknown.GroupMasters)
		}
		return nil
	}}
}

// maySign asks whether the user may do something for a signer, by its name or by its domain's wildcard.
func (c *Config) maySign(ctx context.Context, a *registry.Attributes, verb, signer string) bool {
	if c.Authorizer == nil || a.User == nil {
		return true // nothing is authorized here
	}
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		decision, _, _ := c.Authorizer.Authorize(ctx, authorizer.AttributesRecord{User: a.User, Verb: verb, APIGroup: certificatesv1.GroupName, APIVersion: "*",
			Resource: "signers", Name: name, ResourceRequest: true})
		if decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}
