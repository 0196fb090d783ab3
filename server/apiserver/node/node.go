// Package node authorizes kubelets (user system:node:<name> in group system:nodes): each may read the secrets, configmaps
// and claims that pods on it refer to, its own pods, node and lease, and what every node needs to serve the network.
// That it writes only what is its own is for admission to see (registry/admission, NodeRestriction).
//
// What a pod refers to is read from the newest snapshot at each question, over the few pods of one node: there is no
// graph to keep. It starts no goroutine.
package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"

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

// network is what an agent reads beside what a kubelet does: it also routes pods, proxies Services and answers DNS.
var network = []rbacv1.PolicyRule{
	{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{""}, Resources: []string{"services", "endpoints", "nodes", "namespaces"}},
	{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}},
	{Verbs: []string{"get", "list", "watch"}, APIGroups: []string{"networking.k8s.io"}, Resources: []string{"networkpolicies", "servicecidrs", "ipaddresses"}},
}

// New reads pods from the snapshots of a store.
func New(c *api.Catalogue, snapshot func() *store.Snapshot) *Authorizer {
	return &Authorizer{catalogue: c, snapshot: snapshot, rules: append(rbac.BootstrapRules("system:node"), network...)}
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
	if a.IsResource() && a.Group == "" {
		switch a.Resource {
		case "secrets", "configmaps":
			return z.related(node, a, "get", "list", "watch")
		case "persistentvolumeclaims":
			if a.Subresource == "status" {
				return z.related(node, a, "get", "update", "patch")
			}
			return z.related(node, a, "get")
		case "serviceaccounts":
			if a.Subresource == "token" {
				return z.related(node, a, "create")
			}
			return z.related(node, a, "get")
		case "pods":
			if reading(a.Verb) && a.Subresource == "" {
				return z.pod(node, a)
			}
		}
	}
	if a.Group == "coordination.k8s.io" && a.Resource == "leases" {
		return lease(node, a)
	}
	if a.Group == "storage.k8s.io" && a.Resource == "csinodes" && a.Verb != "create" && a.Name != node {
		return authz.NoOpinion, "can only access CSINode with the same name as the requesting node"
	}
	if rbac.Allows(z.rules, a) {
		return authz.Allow, ""
	}
	return authz.NoOpinion, ""
}

func reading(verb string) bool { return verb == "get" || verb == "list" || verb == "watch" }

// pod: its own by name, or many by the selector spec.nodeName.
func (z *Authorizer) pod(node string, a *authz.Attributes) (authz.Decision, string) {
	for term := range strings.SplitSeq(a.Fields, ",") {
		if value, ok := strings.CutPrefix(term, "spec.nodeName="); ok && strings.TrimPrefix(value, "=") == node {
			return authz.Allow, ""
		}
	}
	if a.Name != "" {
		kind, _ := z.catalogue.ByKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		if pod, ok := z.snapshot().Get(kind, a.Namespace, a.Name).(*corev1.Pod); ok && pod.Spec.NodeName != node {
			return authz.NoOpinion, unrelated(node)
		}
		return authz.Allow, "" // one that is gone may be asked for, to learn that
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
	if a.Name == "" || a.Namespace == "" {
		return authz.NoOpinion, "No Object name found"
	}
	for pod := range z.pods(node) {
		if pod.Namespace == a.Namespace && refers(pod, a.Resource, a.Name) {
			return authz.Allow, ""
		}
	}
	return authz.NoOpinion, unrelated(node)
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
