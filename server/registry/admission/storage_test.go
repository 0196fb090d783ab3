package admission

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

func claim(class, size string, phase corev1.PersistentVolumeClaimPhase) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "c"},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}}},
		Status: corev1.PersistentVolumeClaimStatus{Phase: phase}}
}

func TestStorageIsProtectedOnce(t *testing.T) {
	p, obj := storageProtection(), claim("x", "1Gi", "")
	a := &registry.Attributes{Verb: registry.VerbCreate, Object: obj}
	for range 2 { // rounds
		if err := p.Admit(context.Background(), a); err != nil || len(obj.Finalizers) != 1 || obj.Finalizers[0] != "kubernetes.io/pvc-protection" {
			t.Errorf("%v %q", err, obj.Finalizers)
		}
	}
}

func TestClaimResize(t *testing.T) {
	e := Start(t, Options{Kinds: api.BuiltIn()})
	yes := true
	Create(e, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "grows"}, Provisioner: "x", AllowVolumeExpansion: &yes})
	Create(e, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "fixed"}, Provisioner: "x"})
	p := claimResize(&Config{Store: e.Store, Catalogue: e.Catalogue})
	for _, tc := range []struct {
		class, from, to string
		phase           corev1.PersistentVolumeClaimPhase
		want            string
	}{
		{"grows", "1Gi", "2Gi", corev1.ClaimBound, ""},
		{"grows", "2Gi", "1Gi", corev1.ClaimPending, ""},
		{"grows", "1Gi", "2Gi", corev1.ClaimPending, "Only bound persistent volume claims can be expanded"},
		{"fixed", "1Gi", "2Gi", corev1.ClaimBound, "the storageclass that provisions the pvc must support resize"},
		{"none", "1Gi", "2Gi", corev1.ClaimBound, "only dynamically provisioned pvc can be resized"},
	} {
		obj := claim(tc.class, tc.to, tc.phase)
		a := &registry.Attributes{Request: e.Request(obj), Verb: registry.VerbUpdate, Object: obj, Old: claim(tc.class, tc.from, tc.phase)}
		err := p.Validate(e.Ctx, a)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

func TestOwnerReferences(t *testing.T) {
	e := Start(t, Options{Kinds: api.BuiltIn()})
	allowed := map[string]bool{}
	c := &Config{Store: e.Store, Catalogue: e.Catalogue, Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if allowed[a.GetVerb()+" "+a.GetResource()+"/"+a.GetSubresource()] {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})}
	p := ownerReferences(c)
	yes := true
	with := func(block *bool) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "c", OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "Deployment", Name: "d", UID: "u", BlockOwnerDeletion: block}}}}
	}
	ask := func(verb string, obj, old *corev1.ConfigMap) error {
		a := &registry.Attributes{Request: e.Request(obj), Verb: verb, Object: obj}
		a.User = &user.DefaultInfo{Name: "u"}
		if old != nil {
			a.Old = old
		}
		return p.Validate(e.Ctx, a)
	}
	plain := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "c"}}
	if err := ask("CREATE", with(nil), nil); err != nil {
		t.Error(err)
	}
	if err := ask("UPDATE", with(nil), plain); err == nil || !strings.Contains(err.Error(), "cannot set an ownerRef on a resource you can't delete") {
		t.Error(err)
	}
	allowed["delete configmaps/"] = true
	if err := ask("UPDATE", with(nil), plain); err != nil {
		t.Error(err)
	}
	if err := ask("CREATE", with(&yes), nil); err == nil || !strings.Contains(err.Error(), "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on") {
		t.Error(err)
	}
	if err := ask("UPDATE", with(&yes), with(&yes)); err != nil {
		t.Error(err)
	}
	allowed["update deployments/finalizers"] = true
	if err := ask("CREATE", with(&yes), nil); err != nil {
		t.Error(err)
	}
}
