// Package csrapproving approves the certificate signing requests of kubelets for their client certificates, of those who may
// have them: it asks, by SubjectAccessReview, whether the requestor may create certificatesigningrequests/nodeclient (any
// node's) or …/selfnodeclient (its own, again). Nobody else's request is approved, nor any for a serving certificate, whose
// names nobody can vouch for here; an administrator or an approver of the site does that.
package csrapproving

import (
	"context"
	"crypto/x509"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/csr"
	"codeberg.org/skiff/skiff/server/store"
)

// New returns the controller; its keys are requests.
func New() controller.Controller {
	return controller.Controller{
		Name: "csrapproving", ServiceAccount: "certificate-controller",
		Inputs: []controller.Input{{Kind: &certificatesv1.CertificateSigningRequest{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if e.Type == store.Deleted || len(decide(e.Object.(*certificatesv1.CertificateSigningRequest))) == 0 {
				return nil
			}
			return []string{e.Object.GetName()}
		}}},
		Reconcile: reconcile,
	}
}

// recognized is a way in which a request can be one of a kubelet: what its author must be allowed to do.
type recognized struct{ subresource, message string }

var (
	self = recognized{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."}
	node = recognized{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."}
)

// decide tells which permissions, of which one suffices, would approve a request; none if it is not for this controller.
func decide(r *certificatesv1.CertificateSigningRequest) []recognized {
	if r.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName || len(r.Status.Certificate) > 0 ||
		csr.Has(r, certificatesv1.CertificateApproved) || csr.Has(r, certificatesv1.CertificateDenied) {
		return nil
	}
	var request *x509.CertificateRequest
	var err error
	if request, err = api.ParseCertificateRequest(r.Spec.Request); err != nil || csr.CheckKubeletClient(request, r.Spec.Usages) != nil {
		return nil
	}
	if request.Subject.CommonName == r.Spec.Username {
		return []recognized{self, node}
	}
	return []recognized{node}
}

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	r, ok := client.Get[*certificatesv1.CertificateSigningRequest](c.Snapshot(), "", key)
	if !ok {
		return controller.Result{}, nil
	}
	ways := decide(r)
	for _, way := range ways {
		allowed, err := mayHave(ctx, c, r, way)
		if err != nil {
			return controller.Result{}, err
		}
		if !allowed {
			continue
		}
		approved := r.DeepCopy()
		approved.Status.Conditions = append(approved.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: way.message})
		_, err = c.UpdateSubresource(ctx, approved, "approval")
		return controller.Result{}, err
	}
	if len(ways) > 0 { // the right may come: a binding is often made a moment later
		return controller.Result{}, fmt.Errorf("recognized csr %q as %s but subject access review was not approved", r.Name, ways[len(ways)-1].subresource)
	}
	return controller.Result{}, nil
}

func mayHave(ctx context.Context, c *client.Client, r *certificatesv1.CertificateSigningRequest, way recognized) (bool, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range r.Spec.Extra {
		extra[key] = authorizationv1.ExtraValue(values)
	}
	out, err := c.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: r.Spec.Username, UID: r.Spec.UID, Groups: r.Spec.Groups, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Verb: "create",
			Subresource: way.subresource, Version: "*"},
	}})
	if err != nil {
		return false, fmt.Errorf("ask whether %q may create certificatesigningrequests/%s: %w", r.Spec.Username, way.subresource, err)
	}
	review, ok := out.(*authorizationv1.SubjectAccessReview)
	return ok && review.Status.Allowed, nil
}
