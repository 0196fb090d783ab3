// Package tokencleaner deletes bootstrap tokens when they expire.
package tokencleaner

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// New returns the controller; its keys are names of Secrets in kube-system.
func New(now func() time.Time) controller.Controller {
	return controller.Controller{
		Name: "token-cleaner",
		Inputs: []controller.Input{{Kind: &corev1.Secret{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if e.Type == store.Deleted || decide(e.Object.(*corev1.Secret)).IsZero() {
				return nil
			}
			return []string{e.Object.GetName()}
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			secret, ok := client.Get[*corev1.Secret](c.Snapshot(), metav1.NamespaceSystem, key)
			if !ok {
				return controller.Result{}, nil
			}
			at := decide(secret)
			if at.IsZero() {
				return controller.Result{}, nil
			}
			if wait := at.Sub(now()); wait > 0 {
				return controller.Result{After: wait}, nil
			}
			err := c.DeleteNow(ctx, secret)
			if apierrors.IsNotFound(err) {
				err = nil
			}
			return controller.Result{}, err
		},
	}
}

// decide tells when a Secret expires; zero if it does not. A time that cannot be read is left for people to look at: such a
// token is refused.
func decide(s *corev1.Secret) time.Time {
	if s.Namespace != metav1.NamespaceSystem || s.Type != corev1.SecretTypeBootstrapToken || !strings.HasPrefix(s.Name, "bootstrap-token-") {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, string(s.Data["expiration"]))
	if err != nil {
		return time.Time{}
	}
	return at
}
