package node_test

import (
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/node"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	"codeberg.org/skiff/skiff/server/registry/admission"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// cluster has all kinds, admission and the node authorizer, the node n1 and a namespace with what an attacker wants.
func cluster(t *testing.T) (*Env, *node.Authorizer, *corev1.Node) {
	t.Helper()
	e := Start(t, Options{
		Kinds: api.BuiltIn(),
		Admission: func(e *Env) []registry.Plugin {
			table, err := admission.Table(admission.Config{Store: e.Store, Catalogue: e.Catalogue})
			if err != nil {
				t.Fatal(err)
			}
			return table
		},
		Actions: func(*Env) []registry.Action { return action.Table(action.Config{}) },
	})
	Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "victim"}})
	Create(e, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "default"}})
	Create(e, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "prize"}})
	Create(e, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "prize"}})
	return e, node.New(e.Catalogue, e.Store.Snapshot), Create(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
}

var kubelet = &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}

// reads tells whether the node may get an object named prize.
func reads(t *testing.T, z *node.Authorizer, group, resource string) bool {
	t.Helper()
	verb, sub := "get", ""
	if resource == "serviceaccounts" {
		verb, sub = "create", "token"
	}
	decision, _ := z.Opinion(t.Context(), &authz.Attributes{User: kubelet, Verb: verb, Group: group, Resource: resource, Subresource: sub, Namespace: "victim", Name: "prize"})
	return decision == authz.Allow
}

func mirrorPod(n *corev1.Node, change func(*corev1.PodSpec)) *corev1.Pod {
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "mirror", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID, Controller: &yes}}},
		Spec: corev1.PodSpec{NodeName: n.Name, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	change(&p.Spec)
	return p
}

func volume(v corev1.VolumeSource) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{{Name: "v", VolumeSource: v}} }
}

func projected(p corev1.VolumeProjection) func(*corev1.PodSpec) {
	return volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}})
}

// TestMirrorPodGivesNothing: a node makes a mirror pod that names what it wants to read. The pod is refused; and if it were there, it would give the node nothing.
func TestMirrorPodGivesNothing(t *testing.T) {
	e, z, n := cluster(t)
	prize := corev1.LocalObjectReference{Name: "prize"}
	name := "prize"
	signer := "a.example/signer"
	for what, c := range map[string]struct {
		group, resource, says string
		change                func(*corev1.PodSpec)
	}{
		"csi":             {"", "secrets", "secrets", volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d.example", NodePublishSecretRef: &prize}})},
		"csi driver":      {"", "secrets", "csidrivers", volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d.example"}})},
		"flex":            {"", "secrets", "secrets", volume(corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{Driver: "d/e", SecretRef: &prize}})},
		"azure":           {"", "secrets", "secrets", volume(corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{SecretName: "prize", ShareName: "s"}})},
		"secret":          {"", "secrets", "secrets", volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "prize"}})},
		"projected":       {"", "configmaps", "configmaps", projected(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: prize}})},
		"projectedsecret": {"", "secrets", "secrets", projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: prize}})},
		"certificate":     {"", "secrets", "podcertificates", projected(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{SignerName: signer, KeyType: "ED25519", CredentialBundlePath: "b"}})},
		"trust":           {"", "secrets", "clustertrustbundles", projected(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: &name, Path: "p"}})},
		"claim":           {"", "persistentvolumeclaims", "persistentvolumeclaims", volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "prize"}})},
		"ephemeral": {"", "persistentvolumeclaims", "persistentvolumeclaims", volume(corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
			Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}, Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}}}}})},
		"pull": {"", "secrets", "secrets", func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{prize} }},
		"env": {"", "configmaps", "configmaps", func(s *corev1.PodSpec) {
			s.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: prize}}}
		}},
		"account": {"", "serviceaccounts", "service", func(s *corev1.PodSpec) { s.ServiceAccountName = "prize" }},
		"device": {"resource.k8s.io", "resourceclaims", "resourceclaims", func(s *corev1.PodSpec) {
			s.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &name}}
		}},
	} {
		e.User = kubelet
		pod := mirrorPod(n, c.change)
		_, err := TryCreate(e, pod.DeepCopy())
		if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: the mirror pod is answered %v", what, err)
		}
		if _, err := e.Store.Create(e.Ctx, e.Catalogue.ByObject(pod), pod); err != nil { // as if admission had failed
			t.Fatal(err)
		}
		if reads(t, z, c.group, c.resource) {
			t.Errorf("%s: the node reads %s by a mirror pod that it made itself", what, c.resource)
		}
		e.User = &user.DefaultInfo{Name: "admin", Groups: []string{"system:masters"}}
		zero := int64(0)
		if _, _, err := e.Registry.Delete(e.Ctx, e.Request(pod), &metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
			t.Fatal(what, err)
		}
	}
	e.User = kubelet
	if _, err := TryCreate(e, mirrorPod(n, volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}))); err != nil {
		t.Errorf("an honest mirror pod: %v", err)
	}
	orphan := mirrorPod(n, func(*corev1.PodSpec) {})
	orphan.Name, orphan.OwnerReferences = "orphan", nil
	if _, err := TryCreate(e, orphan); !apierrors.IsForbidden(err) {
		t.Errorf("a mirror pod that nobody owns: %v", err)
	}
}

// TestStatusGivesNothing: a node writes into the status of its own pod that the pod has somebody's claim.
func TestStatusGivesNothing(t *testing.T) {
	e, z, _ := cluster(t)
	mine := Create(e, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "mine"},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
	e.User = kubelet
	name := "prize"
	for what, change := range map[string]func(*corev1.Pod){
		"claim": func(p *corev1.Pod) {
			p.Status.ResourceClaimStatuses = []corev1.PodResourceClaimStatus{{Name: "x", ResourceClaimName: &name}}
		},
		"extended claim": func(p *corev1.Pod) {
			p.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: name}
		},
		"labels": func(p *corev1.Pod) { p.Labels = map[string]string{"app": "trusted"} },
		"mirror": func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} },
	} {
		p := mine.DeepCopy()
		change(p)
		if _, err := TryUpdate(e, p, "status"); !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if reads(t, z, resourcev1.GroupName, "resourceclaims") {
		t.Error("the node reads a claim that its pod has nothing to do with")
	}
	mine.Status.Phase = corev1.PodRunning
	if _, err := TryUpdate(e, mine, "status"); err != nil {
		t.Error(err)
	}
}

// TestTokenAudience: a node gets tokens only for what its pods talk to.
func TestTokenAudience(t *testing.T) {
	e, _, _ := cluster(t)
	pod := Create(e, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "mine"}, Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}},
		Volumes: []corev1.Volume{{Name: "vault", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", Path: "t"}}}}}}}}})
	table, err := admission.Table(admission.Config{Store: e.Store, Catalogue: e.Catalogue})
	if err != nil {
		t.Fatal(err)
	}
	restriction := table[slices.IndexFunc(table, func(p registry.Plugin) bool { return p.Name == "NodeRestriction" })]
	e.User = kubelet
	for _, c := range []struct {
		audiences []string
		ok        bool
	}{{nil, true}, {[]string{"vault"}, true}, {[]string{"bank"}, false}, {[]string{"vault", "bank"}, false}} {
		req := e.Request(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "default"}})
		req.Subresource = "token"
		err := restriction.Validate(e.Ctx, &registry.Attributes{Request: req, Verb: registry.VerbCreate, Object: &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: c.audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}}})
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.audiences, err)
		}
	}
}

// TestOthersObjects: what a node may not write although its verbs on the resource are allowed.
func TestOthersObjects(t *testing.T) {
	e, _, _ := cluster(t)
	other, mine := "n2", "n1"
	theirs := Create(e, &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: resourcev1.ResourceSliceSpec{Driver: "d.example", NodeName: &other,
		Pool: resourcev1.ResourcePool{Name: "p", ResourceSliceCount: 1}}})
	claim := Create(e, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "victim", Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}, Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": quantity("1Gi")}}}})
	e.User = kubelet
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: resourcev1.ResourceSliceSpec{Driver: "d.example", NodeName: &other, Pool: resourcev1.ResourcePool{Name: "p", ResourceSliceCount: 1}}}
	if _, err := TryCreate(e, slice.DeepCopy()); !apierrors.IsForbidden(err) {
		t.Errorf("a slice of another node: %v", err)
	}
	slice.Spec.NodeName = &mine
	if _, err := TryCreate(e, slice); err != nil {
		t.Errorf("a slice of its own: %v", err)
	}
	if _, _, err := e.Registry.Delete(e.Ctx, e.Request(theirs), nil); !apierrors.IsForbidden(err) {
		t.Errorf("deleting a slice of another node: %v", err)
	}
	moved := claim.DeepCopy()
	moved.Status.Phase = corev1.ClaimLost
	if _, err := TryUpdate(e, moved, "status"); !apierrors.IsForbidden(err) {
		t.Errorf("the phase of a claim: %v", err)
	}
	grown := claim.DeepCopy()
	grown.Status.Capacity = corev1.ResourceList{"storage": quantity("2Gi")}
	if _, err := TryUpdate(e, grown, "status"); err != nil {
		t.Errorf("the size of a claim: %v", err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "x", UID: "u"}}}}
	have := e.Store.Snapshot().Get(e.Catalogue.ByObject(node), "", "n1").(*corev1.Node).DeepCopy()
	have.OwnerReferences = node.OwnerReferences
	if _, err := TryUpdate(e, have, ""); !apierrors.IsForbidden(err) {
		t.Errorf("an owner by which the node would be collected: %v", err)
	}
}

func quantity(s string) resource.Quantity { return resource.MustParse(s) }
