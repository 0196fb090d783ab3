package admission

import (
	"context"

	certificatesv1 "k8s.io/api/certificates/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/registry"
)

// trustBundleAttest lets only those publish trust in a signer's name who may "attest" for the signer.
func trustBundleAttest(c *Config) registry.Plugin {
	return registry.Plugin{Name: "ClusterTrustBundleAttest", Validate: func(ctx context.Context, a *registry.Attributes) error {
		bundle, ok := a.Object.(*certificatesv1.ClusterTrustBundle)
		if !ok || bundle.Spec.SignerName == "" || a.Verb != registry.VerbCreate && a.Verb != registry.VerbUpdate {
			return nil
		}
		if old, ok := a.Old.(*certificatesv1.ClusterTrustBundle); ok && onlyCollected(bundle, old) {
			return nil
		}
		if !c.maySign(ctx, a, "attest", bundle.Spec.SignerName) {
			return forbidden(a, "user not permitted to attest for signerName %q", bundle.Spec.SignerName)
		}
		return nil
	}}
}

// onlyCollected: nothing changed but what the garbage collector writes.
func onlyCollected(bundle, old *certificatesv1.ClusterTrustBundle) bool {
	now, was := bundle.DeepCopy(), old.DeepCopy()
	for _, b := range []*certificatesv1.ClusterTrustBundle{now, was} {
		b.OwnerReferences, b.Finalizers, b.ManagedFields, b.ResourceVersion = nil, nil, nil, ""
		b.SetGroupVersionKind(certificatesv1.SchemeGroupVersion.WithKind("ClusterTrustBundle"))
	}
	return apiequality.Semantic.DeepEqual(now, was)
}
