package node

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/registry"
)

// Restriction is the admission step that keeps a node from writing what belongs to another.
func (z *Authorizer) Restriction() registry.Plugin {
	return registry.Plugin{Name: "NodeRestriction", Validate: func(_ context.Context, a *registry.Attributes) error {
		if a.User == nil {
			return nil
		}
		node := Name(a.User)
		if node == "" {
			return nil
		}
		reason := ""
		switch {
		case a.Kind.Group == "" && a.Kind.Plural == "pods":
			reason = z.podWrite(node, a)
		case a.Kind.Group == "" && a.Kind.Plural == "nodes":
			reason = nodeWrite(node, a)
		case a.Kind.Group == "" && a.Kind.Plural == "serviceaccounts" && a.Subresource == "token":
			reason = z.tokenWrite(node, a)
		case a.Kind.Group == coordinationv1.GroupName && a.Kind.Plural == "leases":
			if a.Namespace != corev1.NamespaceNodeLease || nameOf(a) != node {
				reason = "can only access node lease with the same name as the requesting node"
			}
		}
		if reason == "" {
			return nil
		}
		return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf("%s", reason))
	}}
}

func nameOf(a *registry.Attributes) string {
	if a.Name != "" {
		return a.Name
	}
	if o, ok := a.Object.(interface{ GetName() string }); ok {
		return o.GetName()
	}
	return ""
}

func (z *Authorizer) podWrite(node string, a *registry.Attributes) string {
	on := ""
	if pod, ok := a.Old.(*corev1.Pod); ok {
		on = pod.Spec.NodeName
	}
	switch {
	case a.Subresource == "eviction":
		kind := a.Kind
		if pod, ok := z.snapshot().Get(kind, a.Namespace, a.Name).(*corev1.Pod); ok && pod.Spec.NodeName != node {
			return fmt.Sprintf("node %q can only evict pods with spec.nodeName set to itself", node)
		}
	case a.Verb == "CREATE" && a.Subresource == "":
		pod, ok := a.Object.(*corev1.Pod)
		if !ok {
			return ""
		}
		if _, mirror := pod.Annotations[wellknown.AnnotationConfigMirror]; !mirror {
			return fmt.Sprintf("pod does not have %q annotation, node %q can only create mirror pods", wellknown.AnnotationConfigMirror, node)
		}
		if pod.Spec.NodeName != node {
			return fmt.Sprintf("node %q can only create pods with spec.nodeName set to itself", node)
		}
		return mirrorUses(pod)
	case a.Verb == "UPDATE" && a.Subresource != "status":
		return fmt.Sprintf("node %q can only update the status of pods", node)
	case a.Old != nil && on != node:
		return fmt.Sprintf("node %q can only change pods with spec.nodeName set to itself", node)
	}
	return ""
}

// mirrorUses: a mirror pod must not give the node access to what it could not read otherwise.
func mirrorUses(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName != "" {
		return "a mirror pod can not reference a service account"
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Secret != nil || v.ConfigMap != nil || v.PersistentVolumeClaim != nil || v.Projected != nil {
			return "a mirror pod can not reference secrets, configmaps or persistentvolumeclaims"
		}
	}
	if anyEnv(pod, func(from *corev1.EnvFromSource, value *corev1.EnvVarSource) bool {
		return from != nil || value != nil && (value.SecretKeyRef != nil || value.ConfigMapKeyRef != nil)
	}) {
		return "a mirror pod can not reference secrets or configmaps"
	}
	return ""
}

func nodeWrite(node string, a *registry.Attributes) string {
	if nameOf(a) != node {
		return fmt.Sprintf("node %q is not allowed to modify node %q", node, nameOf(a))
	}
	if a.Verb == "DELETE" {
		return fmt.Sprintf("node %q is not allowed to delete itself", node)
	}
	next, ok := a.Object.(*corev1.Node)
	if !ok {
		return ""
	}
	old, _ := a.Old.(*corev1.Node)
	for key, value := range next.Labels {
		if old != nil && old.Labels[key] == value {
			continue
		}
		if domain, _, ok := strings.Cut(key, "/"); ok && (domain == "node-restriction.kubernetes.io" || strings.HasSuffix(domain, ".node-restriction.kubernetes.io")) {
			return fmt.Sprintf("is not allowed to modify labels: %s", key)
		}
	}
	if old != nil && a.Subresource == "" && !sameTaints(old.Spec.Taints, next.Spec.Taints) {
		return fmt.Sprintf("node %q is not allowed to modify taints", node)
	}
	return ""
}

func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].MatchTaint(&b[i]) || a[i].Value != b[i].Value {
			return false
		}
	}
	return true
}

// tokenWrite: a token must be bound to a pod that runs on the node under that service account.
func (z *Authorizer) tokenWrite(node string, a *registry.Attributes) string {
	request, ok := a.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return ""
	}
	ref := request.Spec.BoundObjectRef
	if ref == nil || ref.Kind != "Pod" || ref.APIVersion != "v1" || ref.UID == "" {
		return "node requested token not bound to a pod"
	}
	for pod := range z.pods(node) {
		if pod.Namespace == a.Namespace && pod.Name == ref.Name {
			if pod.UID != ref.UID {
				return fmt.Sprintf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID)
			}
			return ""
		}
	}
	return fmt.Sprintf("node requested token bound to a pod scheduled on a different node than %q", node)
}
