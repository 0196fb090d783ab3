package client

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// TestManagers: fields belong to upstream's components, while events say which loop tells of something.
func TestManagers(t *testing.T) {
	for _, c := range []struct {
		user               user.Info
		manager, component string
	}{
		{ServiceAccount("deployment-controller"), "kube-controller-manager", "deployment-controller"},
		{&user.DefaultInfo{Name: wellknown.UserScheduler}, "kube-scheduler", "kube-scheduler"},
		{&user.DefaultInfo{Name: corev1.DefaultSchedulerName}, "kube-scheduler", corev1.DefaultSchedulerName},
		{&user.DefaultInfo{Name: "system:apiserver"}, "kube-apiserver", "apiserver"},
		{&user.DefaultInfo{Name: "jane"}, "jane", "jane"},
	} {
		client := New(nil, nil, nil, nil, c.user)
		if client.manager() != c.manager || client.component() != c.component {
			t.Errorf("%s: %s %s", c.user.GetName(), client.manager(), client.component())
		}
	}
}
