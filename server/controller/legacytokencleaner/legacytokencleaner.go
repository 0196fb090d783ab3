// Package legacytokencleaner removes service-account tokens in Secrets that the cluster once made by itself and that nobody has used
// for long. Such a token is marked invalid first, so that whoever still needs it finds out while it can be brought back; after the
// same time again it is deleted.
//
// The label with the day of the last use is written by the API server (authn.LabelLastUsed), as is the ConfigMap that says since when.
package legacytokencleaner

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

const (
	// DefaultPeriod is upstream's legacy-service-account-token-clean-up-period.
	DefaultPeriod = 365 * 24 * time.Hour
	// TrackingConfigMap in kube-system says in its data, under TrackingKey, since which day uses are tracked.
	TrackingConfigMap = "kube-apiserver-legacy-service-account-token-tracking"
	TrackingKey       = "since"

	lookEvery = 24 * time.Hour
)

// New returns the controller; its keys are "namespace/name" of Secrets. period is how long a token may be unused.
func New(now func() time.Time, period time.Duration) controller.Controller {
	l := &loop{now: now, period: period}
	return controller.Controller{
		Name: "legacy-service-account-token-cleaner",
		Inputs: []controller.Input{{Kind: &corev1.Secret{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			secret := e.Object.(*corev1.Secret)
			if e.Type == store.Deleted || secret.Type != corev1.SecretTypeServiceAccountToken {
				return nil
			}
			return []string{secret.Namespace + "/" + secret.Name}
		}}},
		Reconcile: l.reconcile,
	}
}

type loop struct {
	now    func() time.Time
	period time.Duration
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	secret, ok := client.Get[*corev1.Secret](snap, namespace, name)
	if !ok || secret.Type != corev1.SecretTypeServiceAccountToken {
		return controller.Result{}, nil
	}
	h := have{secret: secret}
	if tracking, ok := client.Get[*corev1.ConfigMap](snap, metav1.NamespaceSystem, TrackingConfigMap); ok {
		h.trackedSince = tracking.Data[TrackingKey]
	}
	h.account, _ = client.Get[*corev1.ServiceAccount](snap, namespace, secret.Annotations[corev1.ServiceAccountNameKey])
	for pod := range client.List[*corev1.Pod](snap, namespace) {
		h.pods = append(h.pods, pod)
	}
	err := apply(ctx, c, secret, decide(h, l.period, l.now()))
	return controller.Result{After: lookEvery}, err
}

func apply(ctx context.Context, c *client.Client, secret *corev1.Secret, p plan) error {
	switch {
	case p.invalidSince != "":
		_, err := client.Change(ctx, c, secret, "", func(next *corev1.Secret) {
			if next.Labels == nil {
				next.Labels = map[string]string{}
			}
			next.Labels[labelInvalidSince] = p.invalidSince
		})
		return controller.IgnoreGone(err)
	case p.remove:
		uid, rv := secret.UID, secret.ResourceVersion // somebody who uses it now changes it
		err := c.Delete(ctx, secret, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &rv}})
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return err
	}
	return nil
}
