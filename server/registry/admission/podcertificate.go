package admission

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/registry"
)

// freshness is how far from now a pod's certificate may begin.
const freshness = 5 * time.Minute

// podCertificateSigning lets only those issue, deny or fail a pod's certificate who may sign for its signer, and takes no
// certificate that begins at another time than about now.
func podCertificateSigning(c *Config) registry.Plugin {
	return registry.Plugin{Name: "PodCertificateSigning", Validate: func(ctx context.Context, a *registry.Attributes) error {
		r, ok := a.Object.(*certificatesv1.PodCertificateRequest)
		old, both := a.Old.(*certificatesv1.PodCertificateRequest)
		if !ok || !both || a.Subresource != "status" || apiequality.Semantic.DeepEqual(r.Status, old.Status) {
			return nil
		}
		var errs field.ErrorList
		if t := r.Status.NotBefore; t != nil && old.Status.NotBefore == nil {
			if d := t.Sub(c.now()); d <= -freshness || d >= freshness {
				errs = append(errs, field.Invalid(field.NewPath("status", "notBefore"), t.Time, "must be set to within 5 minutes of kube-apiserver's current time"))
			}
		}
		if signer := old.Spec.SignerName; !c.maySign(ctx, a, "sign", signer) {
			errs = append(errs, field.Forbidden(field.NewPath("spec", "signerName"), fmt.Sprintf("User %q is not permitted to \"sign\" for signer %q", a.User.GetName(), signer)))
		}
		if len(errs) > 0 {
			return apierrors.NewInvalid(groupKind(a.Kind), a.Name, errs)
		}
		return nil
	}}
}
