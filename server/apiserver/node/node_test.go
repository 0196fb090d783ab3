package node_test

import (
	"context"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/node"
	"codeberg.org/skiff/skiff/server/store"
)

func TestOpinion(t *testing.T) {
	catalogue, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.New(store.Config{Dir: t.TempDir(), Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-s.Ready()
	claim := "shared"
	for _, obj := range []api.Object{
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa",
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
			ResourceClaims:   []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claim}},
			Volumes: []corev1.Volume{
				{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
				{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}}},
			}}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "other"}, Spec: corev1.PodSpec{NodeName: "n2"}},
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "data", UID: "u"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv"}},
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "a", Name: "data", UID: "u"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{NodeStageSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "stage"}}}}},
		&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "free"}},
	} {
		if _, err := s.Create(ctx, catalogue.ByObject(obj), obj); err != nil {
			t.Fatal(err)
		}
	}
	z := node.New(catalogue, s.Snapshot)
	kubelet := func(name string) user.Info {
		return &user.DefaultInfo{Name: "system:node:" + name, Groups: []string{"system:nodes"}}
	}
	for _, c := range []struct {
		verb, group, resource, sub, namespace, name, fields string
		n1, n2                                              bool
	}{
		{"get", "", "secrets", "", "a", "pull", "", true, false},
		{"get", "", "secrets", "", "b", "pull", "", false, false},
		{"get", "", "secrets", "", "a", "other", "", false, false},
		{"get", "", "secrets", "", "storage", "stage", "", true, false},
		{"list", "", "secrets", "", "a", "", "", false, false},
		{"update", "", "secrets", "", "a", "pull", "", false, false},
		{"watch", "", "configmaps", "", "a", "cm", "", true, false},
		{"get", "", "persistentvolumeclaims", "", "a", "data", "", true, false},
		{"update", "", "persistentvolumeclaims", "status", "a", "data", "", true, false},
		{"update", "", "persistentvolumeclaims", "", "a", "data", "", false, false},
		{"get", "", "persistentvolumes", "", "", "pv", "", true, false},
		{"get", "", "persistentvolumes", "", "", "free", "", false, false},
		{"create", "", "serviceaccounts", "token", "a", "sa", "", true, false},
		{"get", "resource.k8s.io", "resourceclaims", "", "a", "shared", "", true, false},
		{"list", "resource.k8s.io", "resourceslices", "", "", "", "spec.nodeName=n1", true, false},
		{"create", "resource.k8s.io", "resourceslices", "", "", "", "", true, true},
		{"get", "", "pods", "", "a", "p", "", true, false},
		{"list", "", "pods", "", "", "", "spec.nodeName=n1", true, false},
		{"list", "", "pods", "", "", "", "", false, false},
		{"get", "", "nodes", "", "", "n1", "", true, false},
		{"list", "", "nodes", "", "", "", "", false, false},
		{"create", "", "nodes", "", "", "", "", true, true},
		{"get", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1", "", true, false},
		{"get", "coordination.k8s.io", "leases", "", "kube-system", "n1", "", false, false},
		{"update", "storage.k8s.io", "csinodes", "", "", "n1", "", true, false},
		{"create", "certificates.k8s.io", "certificatesigningrequests", "", "", "", "", true, true},
		{"list", "certificates.k8s.io", "podcertificaterequests", "", "", "", "spec.nodeName=n1", true, false},
		{"delete", "apps", "deployments", "", "a", "d", "", false, false},
	} {
		for name, want := range map[string]bool{"n1": c.n1, "n2": c.n2} {
			decision, reason := z.Opinion(ctx, &authz.Attributes{User: kubelet(name), Verb: c.verb, Group: c.group, Resource: c.resource, Subresource: c.sub,
				Namespace: c.namespace, Name: c.name, Fields: c.fields})
			if (decision == authz.Allow) != want {
				t.Errorf("%s %s %s.%s/%s %s/%s %s: %v (%s), want %v", name, c.verb, c.resource, c.group, c.sub, c.namespace, c.name, c.fields, decision, reason, want)
			}
		}
	}
	if decision, _ := z.Opinion(ctx, &authz.Attributes{User: &user.DefaultInfo{Name: "system:node:n1"}, Verb: "get", Resource: "nodes", Name: "n1"}); decision != authz.NoOpinion {
		t.Error("a user who is in no group of nodes is taken for one")
	}
}
