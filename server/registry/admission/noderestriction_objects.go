package admission

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// restrictClaim: a kubelet says how large a claim's volume is on the node, and how far resizing it is. Nothing else of the claim is its to change.
func restrictClaim(a *registry.Attributes, node string) error {
	if a.Subresource != "status" {
		return forbidden(a, "may only update PVC status")
	}
	old, _ := a.Old.(*corev1.PersistentVolumeClaim)
	next, _ := a.Object.(*corev1.PersistentVolumeClaim)
	if a.Verb != registry.VerbUpdate || old == nil || next == nil {
		return forbidden(a, "unexpected operation %q", a.Verb)
	}
	if !apiequality.Semantic.DeepEqual(withoutSizes(old), withoutSizes(next)) {
		return forbidden(a, "node %q is not allowed to update fields other than status.quantity and status.conditions", node)
	}
	return nil
}

func withoutSizes(p *corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	p = p.DeepCopy()
	p.ResourceVersion, p.ManagedFields = "", nil
	p.Status.Capacity, p.Status.Conditions, p.Status.AllocatedResources, p.Status.AllocatedResourceStatuses = nil, nil, nil, nil
	return p
}

// restrictToken: a kubelet gets tokens of the pods on its node only, bound to them, and for the audiences that they ask for.
func (c *Config) restrictToken(ctx context.Context, a *registry.Attributes, node string) error {
	body, ok := a.Object.(*authenticationv1.TokenRequest)
	if !ok {
		return forbidden(a, "unexpected type %T", a.Object)
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
		return apierrors.NewNotFound(corev1.Resource("pods"), ref.Name)
	}
	if p.UID != ref.UID {
		return forbidden(a, "the UID in the bound object reference (%s) does not match the UID in record. "+
			"The object might have been deleted and then recreated", ref.UID)
	}
	if p.Spec.NodeName != node {
		return forbidden(a, "node requested token bound to a pod scheduled on a different node")
	}
	return c.restrictAudience(ctx, a, p, body.Spec.Audiences)
}

func (c *Config) restrictAudience(ctx context.Context, a *registry.Attributes, p *corev1.Pod, audiences []string) error {
	if len(audiences) > 1 {
		return forbidden(a, "node may only request 0 or 1 audiences")
	}
	audience := ""
	if len(audiences) == 1 {
		audience = audiences[0]
	}
	if c.asksForAudience(p, audience) {
		return nil
	}
	if c.Authorizer != nil {
		decision, _, _ := c.Authorizer.Authorize(ctx, authorizer.AttributesRecord{User: a.User, Verb: "request-serviceaccounts-token-audience",
			Namespace: a.Namespace, APIVersion: "v1", Resource: audience, Name: a.Name, ResourceRequest: true})
		if decision == authorizer.DecisionAllow {
			return nil
		}
	}
	return forbidden(a, "audience %q not found in pod spec volume, %s is not authorized to request tokens for this audience", audience, a.User.GetName())
}

// asksForAudience: a volume of the pod projects such a token, or its driver gets one.
func (c *Config) asksForAudience(p *corev1.Pod, audience string) bool {
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience {
					return true
				}
			}
		}
		driver, ok := get[*storagev1.CSIDriver](c, "", c.driverOf(p, v))
		if !ok {
			continue
		}
		for _, r := range driver.Spec.TokenRequests {
			if r.Audience == audience {
				return true
			}
		}
	}
	return false
}

// driverOf is the CSI driver that mounts a volume of a pod, "" if none does.
func (c *Config) driverOf(p *corev1.Pod, v *corev1.Volume) string {
	if v.CSI != nil {
		return v.CSI.Driver
	}
	claim, ok := get[*corev1.PersistentVolumeClaim](c, p.Namespace, podrefs.ClaimName(p, v))
	if !ok {
		return ""
	}
	pv, ok := get[*corev1.PersistentVolume](c, "", claim.Spec.VolumeName)
	if !ok || pv.Spec.CSI == nil {
		return ""
	}
	return pv.Spec.CSI.Driver
}

func restrictLease(a *registry.Attributes, node string) error {
	if a.Namespace != corev1.NamespaceNodeLease {
		return forbidden(a, "can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	if nameOf(a) != node {
		return forbidden(a, "can only access node lease with the same name as the requesting node")
	}
	return nil
}

// restrictSlice: what authorization cannot see, which is what is created, and each object of a collection that is deleted; and what an update makes of
// an object that was the node's own.
func restrictSlice(a *registry.Attributes, node string) error {
	mine := func(obj any) bool {
		s, ok := obj.(*resourcev1.ResourceSlice)
		return ok && s.Spec.NodeName != nil && *s.Spec.NodeName == node
	}
	switch {
	case a.Verb == registry.VerbCreate && !mine(a.Object):
		return forbidden(a, "can only create ResourceSlice with the same NodeName as the requesting node")
	case a.Verb == registry.VerbDelete && !mine(a.Old):
		return forbidden(a, "can only delete ResourceSlice with the same NodeName as the requesting node")
	case a.Verb == registry.VerbUpdate && !(mine(a.Old) && mine(a.Object)):
		return forbidden(a, "can only update ResourceSlice with the same NodeName as the requesting node")
	}
	return nil
}

func (c *Config) restrictCertificates(a *registry.Attributes, node string) error {
	switch a.Kind.Kind {
	case "CertificateSigningRequest":
		return restrictSigningRequest(a, node)
	case "PodCertificateRequest":
		return c.restrictPodCertificate(a, node)
	}
	return nil
}

// restrictSigningRequest: a kubelet asks for certificates in its own name only.
func restrictSigningRequest(a *registry.Attributes, node string) error {
	r, ok := a.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || a.Verb != registry.VerbCreate ||
		r.Spec.SignerName != certificatesv1.KubeletServingSignerName && r.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	request, err := api.ParseCertificateRequest(r.Spec.Request)
	if err != nil {
		return forbidden(a, "unable to parse csr: %v", err)
	}
	if want := wellknown.UserNodePrefix + node; request.Subject.CommonName != want {
		return forbidden(a, "can only create a node CSR with CN=%s", want)
	}
	return nil
}

// restrictPodCertificate: a kubelet asks for certificates of pods that run on its node as they say, and of signers that they name. That a UID is another may
// be old news at the kubelet, so that is no refusal for ever.
func (c *Config) restrictPodCertificate(a *registry.Attributes, node string) error {
	if a.Verb != registry.VerbCreate {
		return forbidden(a, "unexpected operation %v", a.Verb)
	}
	if a.Subresource != "" {
		return forbidden(a, "unexpected subresource %v", a.Subresource)
	}
	r, ok := a.Object.(*certificatesv1.PodCertificateRequest)
	if !ok {
		return forbidden(a, "unexpected type %T", a.Object)
	}
	if string(r.Spec.NodeName) != node {
		return forbidden(a, "PodCertificateRequest.Spec.NodeName=%q, which is not the requesting node %q", r.Spec.NodeName, node)
	}
	n, ok := get[*corev1.Node](c, "", node)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("nodes"), node)
	}
	p, ok := get[*corev1.Pod](c, a.Namespace, r.Spec.PodName)
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("pods"), r.Spec.PodName)
	}
	name := a.Namespace + "/" + r.Spec.PodName
	switch _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; {
	case n.UID != r.Spec.NodeUID:
		return apierrors.NewInternalError(fmt.Errorf("PodCertificateRequest for pod %q names node UID %q, inconsistent with the running node (%q)", name, r.Spec.NodeUID, n.UID))
	case p.UID != r.Spec.PodUID:
		return apierrors.NewInternalError(fmt.Errorf("PodCertificateRequest for pod %q contains pod UID (%q) which differs from running pod %q", name, r.Spec.PodUID, p.UID))
	case p.Spec.NodeName != node:
		return forbidden(a, "pod %q is not running on node %q named in the PodCertificateRequest", name, node)
	case mirror:
		return forbidden(a, "pod %q is a mirror pod", name)
	case p.Spec.ServiceAccountName != r.Spec.ServiceAccountName:
		return forbidden(a, "PodCertificateRequest for pod %q contains serviceAccountName (%q) that differs from running pod (%q)", name, r.Spec.ServiceAccountName, p.Spec.ServiceAccountName)
	case !namesSigner(p, r.Spec.SignerName):
		return forbidden(a, "no volume of pod %q names the signer %q", name, r.Spec.SignerName)
	}
	account, ok := get[*corev1.ServiceAccount](c, a.Namespace, r.Spec.ServiceAccountName)
	if !ok || account.UID != r.Spec.ServiceAccountUID {
		return apierrors.NewInternalError(fmt.Errorf("PodCertificateRequest for pod %q names service account UID %q, which differs from the running service account", name, r.Spec.ServiceAccountUID))
	}
	return nil
}

// namesSigner: a podCertificate projection of the pod asks for it.
func namesSigner(p *corev1.Pod, signer string) bool {
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Projected == nil {
			continue
		}
		for _, s := range p.Spec.Volumes[i].Projected.Sources {
			if s.PodCertificate != nil && s.PodCertificate.SignerName == signer {
				return true
			}
		}
	}
	return false
}
