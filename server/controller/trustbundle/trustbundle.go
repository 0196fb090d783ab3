// Package trustbundle publishes the authorities that sign the API server's and the kubelets' certificates as ClusterTrustBundles, for pods
// that mount them by the signer's name. Its name ends with a hash of the content, so that a new authority is a new bundle;
// what else carries the signer's name goes.
package trustbundle

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// Signers whose authorities are published: of the API server, and of kubelets, for those that scrape these.
const (
	APIServerServing = "kubernetes.io/kube-apiserver-serving"
	KubeletServing   = certificatesv1.KubeletServingSignerName
)

// New returns the controller of one signer; it has one key. bundle is the authority's certificates in PEM.
func New(signer string, bundle []byte) controller.Controller {
	one := []string{signer}
	return controller.Controller{
		Name: strings.TrimPrefix(signer, "kubernetes.io/") + "-clustertrustbundle-publisher",
		Inputs: []controller.Input{
			{Kind: &certificatesv1.ClusterTrustBundle{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if e.Object.(*certificatesv1.ClusterTrustBundle).Spec.SignerName != signer {
					return nil
				}
				return one
			}},
			// There is always this namespace: it wakes the loop at the start.
			{Kind: &corev1.Namespace{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if e.Type != store.Added || e.Object.GetName() != metav1.NamespaceSystem {
					return nil
				}
				return one
			}},
		},
		Reconcile: func(ctx context.Context, c *client.Client, _ string) (controller.Result, error) {
			return controller.Result{}, publish(ctx, c, signer, string(bundle))
		},
	}
}

// nameOf is the signer's name with colons for slashes, and the first 12 bytes of the content's hash.
func nameOf(signer, bundle string) string {
	sum := sha256.Sum256([]byte(bundle))
	return fmt.Sprintf("%s:%x", strings.ReplaceAll(signer, "/", ":"), sum[:12])
}

func publish(ctx context.Context, c *client.Client, signer, bundle string) error {
	snap, name := c.Snapshot(), nameOf(signer, bundle)
	var errs []error
	have, ok := client.Get[*certificatesv1.ClusterTrustBundle](snap, "", name)
	switch {
	case !ok:
		_, err := c.Create(ctx, &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: bundle}})
		if !apierrors.IsAlreadyExists(err) {
			errs = append(errs, err)
		}
	case have.Spec.TrustBundle != bundle:
		next := have.DeepCopy()
		next.Spec.TrustBundle = bundle
		_, err := c.Update(ctx, next)
		errs = append(errs, err)
	}
	for b := range client.List[*certificatesv1.ClusterTrustBundle](snap, "") {
		if b.Spec.SignerName == signer && b.Name != name {
			if err := c.Delete(ctx, b, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
