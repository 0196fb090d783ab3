// Package serviceaccounttoken fills Secrets of type kubernetes.io/service-account-token, each with a token for the account that
// its annotation names, the CA bundle and the namespace; it deletes those whose account is gone. Such tokens do not expire:
// deleting the Secret ends them.
package serviceaccounttoken

import (
	"bytes"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// Issue signs the token of a Secret.
type Issue func(namespace, account, uid, secret string) (string, error)

// New returns the controller; its keys are namespace/name of Secrets.
func New(issue Issue, bundle []byte) controller.Controller {
	return controller.Controller{
		Name: "tokens-controller",
		Inputs: []controller.Input{
			{Kind: &corev1.Secret{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if e.Type == store.Deleted || e.Object.(*corev1.Secret).Type != corev1.SecretTypeServiceAccountToken {
					return nil
				}
				return []string{key(e.Object)}
			}},
			{Kind: &corev1.ServiceAccount{}, Keys: func(s client.Snapshot, e *store.Event) (keys []string) {
				if e.Type == store.Modified {
					return nil
				}
				for secret := range client.List[*corev1.Secret](s, e.Object.GetNamespace()) {
					if secret.Type == corev1.SecretTypeServiceAccountToken && secret.Annotations[corev1.ServiceAccountNameKey] == e.Object.GetName() {
						keys = append(keys, key(secret))
					}
				}
				return keys
			}},
		},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			return controller.Result{}, reconcile(ctx, c, key, issue, bundle)
		},
	}
}

func key(obj api.Object) string { return obj.GetNamespace() + "/" + obj.GetName() }

// plan is what a Secret needs.
type plan struct {
	remove bool
	uid    string // annotation to be set
	token  bool   // to be issued
	data   map[string][]byte
}

// decide compares a Secret with its account, which is nil when there is none.
func decide(secret *corev1.Secret, account *corev1.ServiceAccount, bundle []byte) plan {
	if secret.Type != corev1.SecretTypeServiceAccountToken || secret.DeletionTimestamp != nil {
		return plan{}
	}
	uid := secret.Annotations[corev1.ServiceAccountUIDKey]
	if account == nil || account.DeletionTimestamp != nil || uid != "" && uid != string(account.UID) {
		return plan{remove: true}
	}
	p := plan{data: map[string][]byte{}, token: len(secret.Data[corev1.ServiceAccountTokenKey]) == 0}
	if uid == "" {
		p.uid = string(account.UID)
	}
	if !bytes.Equal(secret.Data[corev1.ServiceAccountRootCAKey], bundle) {
		p.data[corev1.ServiceAccountRootCAKey] = bundle
	}
	if string(secret.Data[corev1.ServiceAccountNamespaceKey]) == "" {
		p.data[corev1.ServiceAccountNamespaceKey] = []byte(secret.Namespace)
	}
	return p
}

func (p plan) idle() bool { return !p.remove && p.uid == "" && !p.token && len(p.data) == 0 }

func reconcile(ctx context.Context, c *client.Client, key string, issue Issue, bundle []byte) error {
	namespace, name, _ := bytes.Cut([]byte(key), []byte("/"))
	snap := c.Snapshot()
	secret, ok := client.Get[*corev1.Secret](snap, string(namespace), string(name))
	if !ok {
		return nil
	}
	account, _ := client.Get[*corev1.ServiceAccount](snap, secret.Namespace, secret.Annotations[corev1.ServiceAccountNameKey])
	p := decide(secret, account, bundle)
	switch {
	case p.idle():
		return nil
	case p.remove:
		err := c.DeleteNow(ctx, secret)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	next := secret.DeepCopy()
	if next.Data == nil {
		next.Data = map[string][]byte{}
	}
	for k, v := range p.data {
		next.Data[k] = v
	}
	if p.uid != "" {
		next.Annotations[corev1.ServiceAccountUIDKey] = p.uid
	}
	if p.token {
		token, err := issue(secret.Namespace, account.Name, string(account.UID), secret.Name)
		if err != nil {
			return fmt.Errorf("token for secret %s: %w", key, err)
		}
		next.Data[corev1.ServiceAccountTokenKey] = []byte(token)
	}
	_, err := c.Update(ctx, next)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
