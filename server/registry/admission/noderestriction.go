package admission

import (
	"context"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// nodeRestriction lets a kubelet touch its own node and the pods on it, and nothing else. Reading is for authorization.
func nodeRestriction(c *Config) registry.Plugin {
	return registry.Plugin{Name: "NodeRestriction", Validate: func(_ context.Context, a *registry.Attributes) error {
		node, ok := nodeOf(a)
		if !ok {
			return nil
		}
		if node == "" {
			return forbidden(a, "could not determine node from user %q", a.User.GetName())
		}
		switch {
		case a.Kind.Group == "" && a.Kind.Kind == "Pod":
			return c.restrictPod(a, node)
		case a.Kind.Group == "" && a.Kind.Kind == "Node":
			return restrictNode(a, node)
		case a.Kind.Group == "" && a.Kind.Kind == "ServiceAccount" && a.Subresource == "token":
			return c.restrictToken(a, node)
		case a.Kind.Group == coordinationv1.GroupName && a.Kind.Kind == "Lease":
			return restrictLease(a, node)
		case a.Kind.Kind == "CSINode":
			if a.Name != node {
				return forbidden(a, "can only access CSINode with the same name as the requesting node")
			}
		}
		return nil
	}}
}

// nodeOf says whether the user is a kubelet, and of which node.
func nodeOf(a *registry.Attributes) (name string, ok bool) {
	if a.User == nil || !slices.Contains(a.User.GetGroups(), wellknown.GroupNodes) {
		return "", false
	}
	name, ok = strings.CutPrefix(a.User.GetName(), wellknown.UserNodePrefix)
	if !ok {
		name = ""
	}
	return name, true
}

func (c *Config) restrictPod(a *registry.Attributes, node string) error {
	switch a.Subresource {
	case "":
		return c.restrictWholePod(a, node)
	case "status":
		old, _ := a.Old.(*corev1.Pod)
		next, _ := a.Object.(*corev1.Pod)
		if old == nil || next == nil || old.Spec.NodeName != node {
			return forbidden(a, "node %q can only update pod status for pods with spec.nodeName set to itself", node)
		}
		if !apiequality.Semantic.DeepEqual(old.Labels, next.Labels) {
			return forbidden(a, "node %q cannot update labels through pod status", node)
		}
		return nil
	case "eviction":
		if p, ok := get[*corev1.Pod](c, a.Namespace, a.Name); ok && p.Spec.NodeName != node {
			return forbidden(a, "node %s can only evict pods with spec.nodeName set to itself", node)
		}
		return nil
	}
	return forbidden(a, "unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.Subresource)
}

func (c *Config) restrictWholePod(a *registry.Attributes, node string) error {
	switch a.Verb {
	case registry.VerbCreate:
		p, _ := a.Object.(*corev1.Pod)
		return c.restrictMirrorPod(a, p, node)
	case registry.VerbDelete:
		if old, _ := a.Old.(*corev1.Pod); old != nil && old.Spec.NodeName == node {
			return nil
		}
		return forbidden(a, "node %q can only delete pods with spec.nodeName set to itself", node)
	}
	return forbidden(a, "unexpected operation %q, node %q can only create and delete mirror pods", a.Verb, node)
}

func (c *Config) restrictMirrorPod(a *registry.Attributes, p *corev1.Pod, node string) error {
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; !mirror {
		return forbidden(a, "pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node)
	}
	if p.Spec.NodeName != node {
		return forbidden(a, "node %q can only create pods with spec.nodeName set to itself", node)
	}
	if len(p.OwnerReferences) > 1 {
		return forbidden(a, "node %q can only create pods with a single owner reference set to itself", node)
	}
	for _, owner := range p.OwnerReferences {
		if owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node {
			return forbidden(a, "node %q can only create pods with an owner reference set to itself", node)
		}
		if owner.Controller == nil || !*owner.Controller {
			return forbidden(a, "node %q can only create pods with a controller owner reference set to itself", node)
		}
		if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
			return forbidden(a, "node %q must not set blockOwnerDeletion on an owner reference", node)
		}
		if n, ok := get[*corev1.Node](c, "", node); !ok || n.UID != owner.UID {
			return forbidden(a, "node %s UID mismatch: expected %s", node, owner.UID)
		}
	}
	if refersToSecrets(p) || p.Spec.ServiceAccountName != "" || refersToConfigMaps(p) {
		return forbidden(a, "node %q can not create pods that reference secrets, configmaps or service accounts", node)
	}
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			return forbidden(a, "node %q can not create pods that reference persistentvolumeclaims", node)
		}
	}
	return nil
}

func refersToConfigMaps(p *corev1.Pod) bool {
	for _, v := range p.Spec.Volumes {
		if v.ConfigMap != nil {
			return true
		}
	}
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range containers {
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
					return true
				}
			}
			for _, e := range c.EnvFrom {
				if e.ConfigMapRef != nil {
					return true
				}
			}
		}
	}
	return false
}

func restrictNode(a *registry.Attributes, name string) error {
	if a.Name != name {
		return forbidden(a, "node %q is not allowed to modify node %q", name, a.Name)
	}
	next, _ := a.Object.(*corev1.Node)
	old, _ := a.Old.(*corev1.Node)
	switch {
	case next == nil:
		return nil
	case old == nil:
		if labels := forbiddenLabels(nil, next.Labels); len(labels) > 0 {
			return forbidden(a, "node %q is not allowed to set the following labels: %s", name, strings.Join(labels, ", "))
		}
		return nil
	}
	if !apiequality.Semantic.DeepEqual(next.Spec.Taints, old.Spec.Taints) {
		return forbidden(a, "node %q is not allowed to modify taints", name)
	}
	if !apiequality.Semantic.DeepEqual(next.OwnerReferences, old.OwnerReferences) {
		return forbidden(a, "node %q is not allowed to modify ownerReferences", name)
	}
	if labels := forbiddenLabels(old.Labels, next.Labels); len(labels) > 0 {
		return forbidden(a, "is not allowed to modify labels: %s", strings.Join(labels, ", "))
	}
	return nil
}

// kubeletLabels of the kubernetes.io namespaces are those that a kubelet may set on its node.
var kubeletLabels = []string{
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone,
	corev1.LabelFailureDomainBetaRegion, corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable,
	corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// forbiddenLabels are those that differ and that a kubelet may not touch: labels by which others choose nodes to trust.
func forbiddenLabels(old, next map[string]string) []string {
	changed := map[string]bool{}
	for key, v := range next {
		if was, ok := old[key]; !ok || was != v {
			changed[key] = true
		}
	}
	for key := range old {
		if _, ok := next[key]; !ok {
			changed[key] = true
		}
	}
	var out []string
	for key := range changed {
		if !kubeletMaySet(key) {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

func kubeletMaySet(key string) bool {
	namespace, _, found := strings.Cut(key, "/")
	if !found {
		return true
	}
	within := func(domain string) bool { return namespace == domain || strings.HasSuffix(namespace, "."+domain) }
	if within(corev1.LabelNamespaceNodeRestriction) {
		return false
	}
	if !within("kubernetes.io") && !within("k8s.io") {
		return true
	}
	return slices.Contains(kubeletLabels, key) || within(corev1.LabelNamespaceSuffixKubelet) || within(corev1.LabelNamespaceSuffixNode)
}

// restrictToken: a kubelet gets tokens of the pods on its node only, bound to them.
func (c *Config) restrictToken(a *registry.Attributes, node string) error {
	body, ok := a.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return nil
	}
	ref := body.Spec.BoundObjectRef
	if ref == nil || ref.APIVersion != "v1" || ref.Kind != "Pod" || ref.Name == "" {
		return forbidden(a, "node requested token not bound to a pod")
	}
	if ref.UID == "" {
		return forbidden(a, "node requested token with a pod binding without a uid")
	}
	p, ok := get[*corev1.Pod](c, a.Namespace, ref.Name)
	if !ok {
		return forbidden(a, "pod %q not found", ref.Name)
	}
	if p.UID != ref.UID {
		return forbidden(a, "the UID in the bound object reference (%s) does not match the UID in record. "+
			"The object might have been deleted and then recreated", ref.UID)
	}
	if p.Spec.NodeName != node {
		return forbidden(a, "node requested token bound to a pod scheduled on a different node")
	}
	return nil
}

func restrictLease(a *registry.Attributes, node string) error {
	if a.Namespace != corev1.NamespaceNodeLease {
		return forbidden(a, "can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	name := a.Name
	if obj, ok := a.Object.(api.Object); ok && name == "" {
		name = obj.GetName()
	}
	if name != node {
		return forbidden(a, "can only access node lease with the same name as the requesting node")
	}
	return nil
}
