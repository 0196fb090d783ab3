package aggregation

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
)

// The ConfigMap from which other API servers learn whom to believe.
const (
	trustNamespace = metav1.NamespaceSystem
	trustName      = "extension-apiserver-authentication"
)

// FrontProxyName is the common name of the certificate that the server shows to other API servers.
const FrontProxyName = "front-proxy-client"

// trust is what the ConfigMap holds; lists are JSON, as upstream's libraries read them.
func trust(clientCA, frontProxyCA []byte) map[string]string {
	return map[string]string{
		"client-ca-file":                     string(clientCA),
		"requestheader-client-ca-file":       string(frontProxyCA),
		"requestheader-allowed-names":        `["` + FrontProxyName + `"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
		"requestheader-uid-headers":          `["X-Remote-Uid"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
	}
}

// syncTrust makes the ConfigMap and puts it right; keys that others added stay.
func (a *Aggregator) syncTrust(ctx context.Context, snap client.Snapshot) error {
	want := trust(a.cfg.ClientCA(), a.cfg.FrontProxyCA())
	have, ok := client.Get[*corev1.ConfigMap](snap, trustNamespace, trustName)
	if !ok {
		_, err := a.cfg.Client.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: trustNamespace, Name: trustName}, Data: want})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create config map %s/%s: %w", trustNamespace, trustName, err)
		}
		return nil
	}
	next := have.DeepCopy()
	if next.Data == nil {
		next.Data = map[string]string{}
	}
	maps.Copy(next.Data, want)
	if maps.Equal(next.Data, have.Data) {
		return nil
	}
	if _, err := a.cfg.Client.Update(ctx, next); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("update config map %s/%s: %w", trustNamespace, trustName, err)
	}
	return nil
}
