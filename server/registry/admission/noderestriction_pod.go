package admission

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

func (c *Config) restrictPod(a *registry.Attributes, node string) error {
	switch a.Subresource {
	case "":
		return c.restrictWholePod(a, node)
	case "status":
		return restrictPodStatus(a, node)
	case "eviction":
		return c.restrictEviction(a, node)
	}
	return forbidden(a, "unexpected pod subresource %q, only 'status' and 'eviction' are allowed", a.Subresource)
}

// restrictPodStatus: what a pod's status names is read by its node (package podrefs), so the node does not write it.
func restrictPodStatus(a *registry.Attributes, node string) error {
	if a.Verb != registry.VerbUpdate {
		return forbidden(a, "unexpected operation %q", a.Verb)
	}
	old, _ := a.Old.(*corev1.Pod)
	next, _ := a.Object.(*corev1.Pod)
	switch {
	case old == nil || next == nil || old.Spec.NodeName != node:
		return forbidden(a, "node %q can only update pod status for pods with spec.nodeName set to itself", node)
	case !apiequality.Semantic.DeepEqual(old.Labels, next.Labels):
		return forbidden(a, "node %q cannot update labels through pod status", node)
	case !slices.EqualFunc(old.Status.ResourceClaimStatuses, next.Status.ResourceClaimStatuses, sameClaim):
		return forbidden(a, "node %q cannot update resource claim statues", node)
	case !apiequality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, next.Status.ExtendedResourceClaimStatus):
		return forbidden(a, "node %q cannot update extended resource claim status", node)
	}
	return nil
}

func sameClaim(a, b corev1.PodResourceClaimStatus) bool {
	return a.Name == b.Name && apiequality.Semantic.DeepEqual(a.ResourceClaimName, b.ResourceClaimName)
}

func (c *Config) restrictEviction(a *registry.Attributes, node string) error {
	if a.Verb != registry.VerbCreate {
		return forbidden(a, "unexpected operation %s", a.Verb)
	}
	name := a.Name
	if obj, ok := a.Object.(api.Object); ok && name == "" {
		name = obj.GetName()
	}
	if name == "" {
		return forbidden(a, "could not determine pod from request data")
	}
	p, ok := get[*corev1.Pod](c, a.Namespace, name)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("pods"), name)
	}
	if p.Spec.NodeName != node {
		return forbidden(a, "node %s can only evict pods with spec.nodeName set to itself", node)
	}
	return nil
}

func (c *Config) restrictWholePod(a *registry.Attributes, node string) error {
	switch a.Verb {
	case registry.VerbCreate:
		p, ok := a.Object.(*corev1.Pod)
		if !ok {
			return forbidden(a, "unexpected type %T", a.Object)
		}
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
	if err := c.restrictOwner(a, p, node); err != nil {
		return err
	}
	if what := mirrorRefersTo(p); what != "" {
		return forbidden(a, "node %q can not create pods that reference %s", node, what)
	}
	return nil
}

func (c *Config) restrictOwner(a *registry.Attributes, p *corev1.Pod, node string) error {
	if len(p.OwnerReferences) > 1 {
		return forbidden(a, "node %q can only create pods with a single owner reference set to itself", node)
	}
	if len(p.OwnerReferences) == 0 {
		return forbidden(a, "node %q can only create pods with an owner reference set to itself", node)
	}
	owner := p.OwnerReferences[0]
	if owner.APIVersion != "v1" || owner.Kind != "Node" || owner.Name != node {
		return forbidden(a, "node %q can only create pods with an owner reference set to itself", node)
	}
	if owner.Controller == nil || !*owner.Controller {
		return forbidden(a, "node %q can only create pods with a controller owner reference set to itself", node)
	}
	if owner.BlockOwnerDeletion != nil && *owner.BlockOwnerDeletion {
		return forbidden(a, "node %q must not set blockOwnerDeletion on an owner reference", node)
	}
	n, ok := get[*corev1.Node](c, "", node)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("nodes"), node)
	}
	if n.UID != owner.UID {
		return forbidden(a, "node %s UID mismatch: expected %s got %s", node, owner.UID, n.UID)
	}
	return nil
}

// firstSaid are the resources that a refusal names first if a mirror pod refers to several, as upstream does.
var firstSaid = []podrefs.Resource{podrefs.ServiceAccounts, podrefs.Secrets, podrefs.ConfigMaps, podrefs.ResourceClaims, podrefs.ResourceClaimTemplates}

// mirrorRefersTo says what kind of object a mirror pod refers to; "" if it names none. What only describes a pod (its node, its classes) may stand in
// it: who runs the pod gets nothing of these.
func mirrorRefersTo(p *corev1.Pod) string {
	best, what := len(firstSaid)+1, ""
	for r := range podrefs.Of(p) {
		if r.Resource.Description() {
			continue
		}
		rank := slices.Index(firstSaid, r.Resource)
		if rank < 0 {
			rank = len(firstSaid)
		}
		if rank < best {
			best, what = rank, said(r)
		}
	}
	return what
}

// said names a reference in upstream's words.
func said(r podrefs.Ref) string {
	switch r.Resource {
	case podrefs.CSIDrivers:
		return "csidrivers (via CSI volumes)"
	case podrefs.Endpoints:
		return "endpoints (via glusterFS volumes)"
	case podrefs.ResourceClaims, podrefs.ResourceClaimTemplates:
		return "resourceclaims"
	case podrefs.ClusterTrustBundles:
		return "clustertrustbundles"
	case podrefs.Signers:
		return "podcertificates"
	case podrefs.Unknown:
		return "objects of an unknown kind: " + r.Field
	}
	return string(r.Resource)
}
