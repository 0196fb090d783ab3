// Package bootstrapsigner signs the ConfigMap kube-public/cluster-info with every bootstrap token that is for signing, so that
// who has such a token knows that the cluster's address and authority come from somebody who has it too.
package bootstrapsigner

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	name       = "cluster-info"
	kubeconfig = "kubeconfig"
	prefix     = "jws-kubeconfig-"
)

// New returns the controller; it has one key.
func New(now func() time.Time) controller.Controller {
	one := []string{name}
	return controller.Controller{
		Name: "bootstrap-signer",
		Inputs: []controller.Input{
			{Kind: &corev1.ConfigMap{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if e.Type == store.Deleted || e.Object.GetNamespace() != metav1.NamespacePublic || e.Object.GetName() != name {
					return nil
				}
				return one
			}},
			{Kind: &corev1.Secret{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if s := e.Object.(*corev1.Secret); s.Namespace != metav1.NamespaceSystem || s.Type != corev1.SecretTypeBootstrapToken {
					return nil
				}
				return one
			}},
		},
		Reconcile: func(ctx context.Context, c *client.Client, _ string) (controller.Result, error) {
			return controller.Result{}, reconcile(ctx, c, now())
		},
	}
}

func reconcile(ctx context.Context, c *client.Client, now time.Time) error {
	snap := c.Snapshot()
	info, ok := client.Get[*corev1.ConfigMap](snap, metav1.NamespacePublic, name)
	if !ok {
		return nil
	}
	var tokens []*corev1.Secret
	for s := range client.List[*corev1.Secret](snap, metav1.NamespaceSystem) {
		tokens = append(tokens, s)
	}
	data := decide(info, tokens, now)
	if maps.Equal(data, info.Data) {
		return nil
	}
	next := info.DeepCopy()
	next.Data = data
	_, err := c.Update(ctx, next)
	return err
}

// decide returns what the ConfigMap should hold.
func decide(info *corev1.ConfigMap, tokens []*corev1.Secret, now time.Time) map[string]string {
	data := map[string]string{}
	for key, v := range info.Data {
		if !strings.HasPrefix(key, prefix) {
			data[key] = v
		}
	}
	text, ok := info.Data[kubeconfig]
	if !ok {
		return data
	}
	for _, s := range tokens {
		field := func(name string) string { return string(s.Data[name]) }
		id, secret := field("token-id"), field("token-secret")
		if s.Type != corev1.SecretTypeBootstrapToken || s.DeletionTimestamp != nil || s.Name != "bootstrap-token-"+id || secret == "" ||
			field("usage-bootstrap-signing") != "true" {
			continue
		}
		if text := field("expiration"); text != "" {
			if until, err := time.Parse(time.RFC3339, text); err != nil || !now.Before(until) {
				continue
			}
		}
		data[prefix+id] = sign(text, id, secret)
	}
	return data
}

// sign makes a detached JWS (RFC 7515, appendix F) with HMAC-SHA256.
func sign(content, id, secret string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	header := b64([]byte(`{"alg":"HS256","kid":"` + id + `"}`))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(header + "." + b64([]byte(content))))
	return header + ".." + b64(mac.Sum(nil))
}
