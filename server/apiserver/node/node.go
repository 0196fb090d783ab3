// Package node authorizes kubelets (user system:node:<name> in group system:nodes): each may read the secrets, configmaps
// and claims that pods on it refer to, its own pods, node and lease. What an agent reads to serve the network it reads as
// system:kube-proxy. That a node writes only what is its own is for admission to see (registry/admission, NodeRestriction).
//
// What a pod refers to (package podrefs) is read from the newest snapshot at each question, over the few pods of one node: there is no
// graph to keep. It starts no goroutine.
package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/rbac"
	"codeberg.org/skiff/skiff/server/store"
)

// Authorizer allows nodes what they need. It is an authz.Authorizer.
type Authorizer struct {
	catalogue *api.Catalogue
	snapshot  func() *store.Snapshot
	rules     []rbacv1.PolicyRule
}

// New reads pods from the snapshots of a store.
func New(c *api.Catalogue, snapshot func() *store.Snapshot) *Authorizer {
	return &Authorizer{catalogue: c, snapshot: snapshot, rules: rbac.BootstrapRules("system:node")}
}

// Name of the node that a user is; "" if it is none.
func Name(u user.Info) string {
	name, ok := strings.CutPrefix(u.GetName(), wellknown.UserNodePrefix)
	if !ok || !slices.Contains(u.GetGroups(), wellknown.GroupNodes) {
		return ""
	}
	return name
}

// Opinion on a request of a node; none on anybody else's.
func (z *Authorizer) Opinion(_ context.Context, a *authz.Attributes) (authz.Decision, string) {
	node := Name(a.User)
	if node == "" {
		return authz.NoOpinion, ""
	}
	if decide := z.special(a); decide != nil {
		return decide(node, a)
	}
	if rbac.Allows(z.rules, a) {
		return authz.Allow, ""
	}
	return authz.NoOpinion, ""
}

// special finds what is not decided by the rules that all nodes have; nil if these decide.
func (z *Authorizer) special(a *authz.Attributes) func(node string, a *authz.Attributes) (authz.Decision, string) {
	if !a.IsResource() {
		return nil
	}
	related := func(verbs ...string) func(string, *authz.Attributes) (authz.Decision, string) {
		return func(node string, a *authz.Attributes) (authz.Decision, string) { return z.related(node, a, verbs...) }
	}
	switch a.Group + "/" + a.Resource {
	case "/secrets", "/configmaps":
		return related("get", "list", "watch")
	case "/persistentvolumeclaims":
		if a.Subresource == "status" {
			return related("get", "update", "patch")
		}
		return related("get")
	case "/persistentvolumes", "resource.k8s.io/resourceclaims", "storage.k8s.io/volumeattachments":
		return related("get")
	case "/serviceaccounts":
		if a.Subresource == "token" {
			return related("create")
		}
		return related("get")
	case "/pods":
		if reading(a.Verb) && a.Subresource == "" {
			return z.pod
		}
	case "/nodes":
		if reading(a.Verb) {
			return ownNode
		}
	case "coordination.k8s.io/leases":
		return lease
	case "storage.k8s.io/csinodes":
		return csiNode
	case "resource.k8s.io/resourceslices":
		return z.resourceSlice
	case "certificates.k8s.io/podcertificaterequests":
		if a.Verb != "create" {
			return z.podCertificate
		}
	}
	return nil
}

// selects tells whether a field selector, as it was sent, wants one value of a field.
func selects(fields, field, want string) bool {
	for term := range strings.SplitSeq(fields, ",") {
		if value, ok := strings.CutPrefix(term, field+"="); ok && strings.TrimPrefix(value, "=") == want {
			return true
		}
	}
	return false
}

// ownNode: the kubelet reads its own Node and no other.
func ownNode(node string, a *authz.Attributes) (authz.Decision, string) {
	if a.Subresource != "" {
		return authz.NoOpinion, ""
	}
	if a.Name == node {
		return authz.Allow, ""
	}
	return authz.NoOpinion, fmt.Sprintf("node %q cannot read all nodes, only its own Node object", node)
}

func csiNode(node string, a *authz.Attributes) (authz.Decision, string) {
	switch {
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, a.Verb):
		return authz.NoOpinion, "can only get, create, update, patch, or delete a CSINode"
	case a.Subresource != "":
		return authz.NoOpinion, "cannot authorize CSINode subresources"
	case a.Verb != "create" && a.Name != node:
		return authz.NoOpinion, "can only access CSINode with the same name as the requesting node"
	}
	return authz.Allow, ""
}

// resourceSlice: those of the node's own devices. What it creates, admission looks at.
func (z *Authorizer) resourceSlice(node string, a *authz.Attributes) (authz.Decision, string) {
	if a.Subresource != "" {
		return authz.NoOpinion, "cannot authorize ResourceSlice subresources"
	}
	switch a.Verb {
	case "create":
		return authz.Allow, ""
	case "get", "update", "patch", "delete":
		if z.sliceHere(node, a.Name) {
			return authz.Allow, ""
		}
		return authz.NoOpinion, unrelated(node)
	case "list", "watch", "deletecollection":
		if selects(a.Fields, resourcev1.ResourceSliceSelectorNodeName, node) {
			return authz.Allow, ""
		}
		return authz.NoOpinion, "can only list/watch/deletecollection resourceslices with spec.nodeName field selector"
	}
	return authz.NoOpinion, "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection"
}

// podCertificate: requests for pods of the node.
func (z *Authorizer) podCertificate(node string, a *authz.Attributes) (authz.Decision, string) {
	if a.Subresource != "" {
		return authz.NoOpinion, "nodes may not access the status subresource of PodCertificateRequests"
	}
	switch a.Verb {
	case "list", "watch":
		if selects(a.Fields, "spec.nodeName", node) {
			return authz.Allow, ""
		}
		return authz.NoOpinion, fmt.Sprintf("can only list/watch podcertificaterequests with spec.nodeName field selector of node %q", node)
	case "get":
		return z.related(node, a, "get")
	}
	return authz.NoOpinion, fmt.Sprintf("nodes may not %s PodCertificateRequests", a.Verb)
}

func reading(verb string) bool { return verb == "get" || verb == "list" || verb == "watch" }

// pod: its own by name, or many by the selector spec.nodeName.
func (z *Authorizer) pod(node string, a *authz.Attributes) (authz.Decision, string) {
	if a.Verb != "get" && selects(a.Fields, "spec.nodeName", node) {
		return authz.Allow, ""
	}
	if a.Name != "" {
		kind, _ := z.catalogue.ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		pod, ok := z.snapshot().Get(kind, a.Namespace, a.Name).(*corev1.Pod)
		// One that is gone may be asked for, to learn that; a watch would see what another node gets under that name.
		if ok && pod.Spec.NodeName == node || !ok && a.Verb == "get" {
			return authz.Allow, ""
		}
		return authz.NoOpinion, unrelated(node)
	}
	return authz.NoOpinion, fmt.Sprintf("can only list/watch pods with spec.nodeName field selector of node %q", node)
}

func unrelated(node string) string {
	return fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

func lease(node string, a *authz.Attributes) (authz.Decision, string) {
	switch {
	case !slices.Contains([]string{"get", "create", "update", "patch", "delete"}, a.Verb):
		return authz.NoOpinion, "can only get, create, update, patch, or delete a node lease"
	case a.Namespace != corev1.NamespaceNodeLease:
		return authz.NoOpinion, fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	case a.Verb != "create" && a.Name != node:
		return authz.NoOpinion, "can only access node lease with the same name as the requesting node"
	}
	return authz.Allow, ""
}

// related allows the verbs on an object that a pod of the node refers to.
func (z *Authorizer) related(node string, a *authz.Attributes, verbs ...string) (authz.Decision, string) {
	if !slices.Contains(verbs, a.Verb) {
		return authz.NoOpinion, fmt.Sprintf("a node can only %s this resource", strings.Join(verbs, ", "))
	}
	if a.Subresource != "" && a.Resource+"/"+a.Subresource != "serviceaccounts/token" && a.Resource+"/"+a.Subresource != "persistentvolumeclaims/status" {
		return authz.NoOpinion, "cannot read subresource"
	}
	if a.Name == "" {
		return authz.NoOpinion, "No Object name found"
	}
	var found bool
	switch a.Resource {
	case "persistentvolumes":
		found = z.mountsVolume(node, a.Name)
	case "volumeattachments":
		found = z.attachedHere(node, a.Name)
	case "podcertificaterequests":
		kind, _ := z.catalogue.ByKind(certificatesv1beta1.SchemeGroupVersion.WithKind("PodCertificateRequest"))
		if kind == nil {
			kind, _ = z.catalogue.ByKind(schema.GroupVersionKind{Group: "certificates.k8s.io", Version: "v1", Kind: "PodCertificateRequest"})
		}
		found = kind != nil && kind.Fields != nil && z.fieldIs(kind, a.Namespace, a.Name, "spec.nodeName", node)
	default:
		if a.Namespace == "" {
			return authz.NoOpinion, "No Object name found"
		}
		resource := resourceOf(a.Group, a.Resource)
		for pod := range z.pods(node) {
			if pod.Namespace == a.Namespace && refers(pod, resource, a.Name) || resource == podrefs.Secrets && z.volumeSecret(pod, a.Namespace, a.Name) {
				found = true
				break
			}
		}
	}
	if found {
		return authz.Allow, ""
	}
	return authz.NoOpinion, unrelated(node)
}

func (z *Authorizer) fieldIs(kind *api.Kind, namespace, name, field, want string) bool {
	obj := z.snapshot().Get(kind, namespace, name)
	return obj != nil && kind.Fields(obj).Get(field) == want
}

func (z *Authorizer) attachedHere(node, name string) bool {
	kind := z.catalogue.ByObject(&storagev1.VolumeAttachment{})
	if kind == nil {
		return false
	}
	va, ok := z.snapshot().Get(kind, "", name).(*storagev1.VolumeAttachment)
	return ok && va.Spec.NodeName == node
}

// pods of a node.
func (z *Authorizer) pods(node string) func(yield func(*corev1.Pod) bool) {
	return func(yield func(*corev1.Pod) bool) {
		kind, _ := z.catalogue.ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		if kind == nil {
			return
		}
		for obj := range z.snapshot().ByIndex(kind, "spec.nodeName", node) {
			if pod, ok := obj.(*corev1.Pod); ok && !yield(pod) {
				return
			}
		}
	}
}
