package admission

import (
	"context"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// nodeRestriction lets a kubelet touch its own node and the pods on it, and nothing else. Reading is for authorization.
func nodeRestriction(c *Config) registry.Plugin {
	return registry.Plugin{Name: "NodeRestriction", Validate: func(ctx context.Context, a *registry.Attributes) error {
		node, ok := nodeOf(a)
		if !ok {
			return nil
		}
		if node == "" {
			return forbidden(a, "could not determine node from user %q", a.User.GetName())
		}
		switch {
		case a.Verb == registry.VerbConnect: // who may not connect is for authorization to say
			return nil
		case a.Kind.Group == corev1.GroupName:
			return c.restrictCore(ctx, a, node)
		case a.Kind.Group == coordinationv1.GroupName && a.Kind.Kind == "Lease":
			return restrictLease(a, node)
		case a.Kind.Group == storagev1.GroupName && a.Kind.Kind == "CSINode":
			if nameOf(a) != node {
				return forbidden(a, "can only access CSINode with the same name as the requesting node")
			}
		case a.Kind.Group == resourcev1.GroupName && a.Kind.Kind == "ResourceSlice":
			return restrictSlice(a, node)
		case a.Kind.Group == certificatesv1.GroupName:
			return c.restrictCertificates(a, node)
		}
		return nil
	}}
}

func (c *Config) restrictCore(ctx context.Context, a *registry.Attributes, node string) error {
	switch a.Kind.Kind {
	case "Pod":
		return c.restrictPod(a, node)
	case "Node":
		return restrictNode(a, node)
	case "PersistentVolumeClaim":
		return restrictClaim(a, node)
	case "ServiceAccount":
		if a.Subresource == "token" && a.Verb == registry.VerbCreate {
			return c.restrictToken(ctx, a, node)
		}
	}
	return nil
}

// nameOf the object; in a request that creates it, only the object says it.
func nameOf(a *registry.Attributes) string {
	if obj, ok := a.Object.(api.Object); ok && a.Name == "" {
		return obj.GetName()
	}
	return a.Name
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

func restrictNode(a *registry.Attributes, name string) error {
	if requested := nameOf(a); requested != name {
		return forbidden(a, "node %q is not allowed to modify node %q", name, requested)
	}
	next, _ := a.Object.(*corev1.Node)
	old, _ := a.Old.(*corev1.Node)
	switch {
	case next == nil:
		return nil
	case old == nil:
		if next.Spec.ConfigSource != nil {
			return forbidden(a, "node %q is not allowed to create pods with a non-nil configSource", name)
		}
		if labels := forbiddenLabels(nil, next.Labels); len(labels) > 0 {
			return forbidden(a, "node %q is not allowed to set the following labels: %s", name, strings.Join(labels, ", "))
		}
		return nil
	}
	if next.Spec.ConfigSource != nil && !apiequality.Semantic.DeepEqual(next.Spec.ConfigSource, old.Spec.ConfigSource) {
		return forbidden(a, "node %q is not allowed to update configSource to a new non-nil configSource", name)
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
