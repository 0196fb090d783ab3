package authn

import (
	"context"
	"crypto/subtle"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

var (
	bootstrapToken = regexp.MustCompile(`\A([a-z0-9]{6})\.([a-z0-9]{16})\z`)
	bootstrapGroup = regexp.MustCompile(`\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`)
)

// BootstrapTokens finds tokens of new nodes: Secrets bootstrap-token-<id> in kube-system.
func BootstrapTokens(c *api.Catalogue, snapshot func() *store.Snapshot, now func() time.Time) func(context.Context, string) (user.Info, error) {
	return func(_ context.Context, token string) (user.Info, error) {
		parts := bootstrapToken.FindStringSubmatch(token)
		if parts == nil {
			return nil, nil
		}
		kind := c.ByObject(&corev1.Secret{})
		if kind == nil {
			return nil, nil
		}
		secret, ok := snapshot().Get(kind, metav1.NamespaceSystem, "bootstrap-token-"+parts[1]).(*corev1.Secret)
		if !ok {
			return nil, nil
		}
		return bootstrapUser(secret, parts[1], parts[2], now())
	}
}

func bootstrapUser(secret *corev1.Secret, id, key string, now time.Time) (user.Info, error) {
	field := func(name string) string { return string(secret.Data[name]) }
	name := secret.Namespace + "/" + secret.Name
	switch {
	case secret.DeletionTimestamp != nil, secret.Type != corev1.SecretTypeBootstrapToken, field("token-id") != id:
		return nil, nil
	case subtle.ConstantTimeCompare(secret.Data["token-secret"], []byte(key)) != 1:
		return nil, nil
	case field("usage-bootstrap-authentication") != "true":
		return nil, fmt.Errorf("bootstrap token %s is not for authentication", name)
	}
	if text := field("expiration"); text != "" {
		until, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, fmt.Errorf("bootstrap token %s: expiration %q is not a time", name, text)
		}
		if !now.Before(until) {
			return nil, fmt.Errorf("bootstrap token %s has expired", name)
		}
	}
	groups := []string{"system:bootstrappers"}
	if text := field("auth-extra-groups"); text != "" {
		for g := range strings.SplitSeq(text, ",") {
			if !bootstrapGroup.MatchString(g) {
				return nil, fmt.Errorf("bootstrap token %s: group %q does not match %s", name, g, bootstrapGroup)
			}
			groups = append(groups, g)
		}
	}
	return &user.DefaultInfo{Name: "system:bootstrap:" + id, Groups: groups}, nil
}
