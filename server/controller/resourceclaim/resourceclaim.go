// Package resourceclaim looks after the device claims of pods: it makes those that a pod wants from a template, writes their
// names into the pod's status, reserves allocated claims for pods that somebody else has put on a node, and takes back
// reservations, allocations and generated claims when their pods are done.
//
// It allocates nothing: whoever schedules the pod does.
package resourceclaim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	podKey   = "pod|"
	claimKey = "claim|"
)

// New returns the controller; its keys are pods ("pod|namespace/name") and claims ("claim|namespace/name").
func New() controller.Controller {
	return controller.Controller{
		Name:    "resource-claim-controller",
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &corev1.Pod{}, Keys: func(_ client.Snapshot, e *store.Event) []string { return keysOfPod(e.Object.(*corev1.Pod)) }},
			{Kind: &resourcev1.ResourceClaim{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				claim := e.Object.(*resourcev1.ResourceClaim)
				keys := []string{claimKey + claim.Namespace + "/" + claim.Name}
				if owner := owningPod(claim); owner != nil {
					keys = append(keys, podKey+claim.Namespace+"/"+owner.Name)
				}
				return keys
			}},
			{Kind: &resourcev1.ResourceClaimTemplate{}, Keys: keysOfTemplate},
		},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			if pod, ok := strings.CutPrefix(key, podKey); ok {
				return controller.Result{}, syncPod(ctx, c, pod)
			}
			return controller.Result{}, syncClaim(ctx, c, strings.TrimPrefix(key, claimKey))
		},
	}
}

func keysOfPod(p *corev1.Pod) (keys []string) {
	if len(p.Spec.ResourceClaims) == 0 {
		return nil
	}
	keys = append(keys, podKey+p.Namespace+"/"+p.Name)
	for i := range p.Spec.ResourceClaims {
		if name := claimName(p, &p.Spec.ResourceClaims[i]); name != "" {
			keys = append(keys, claimKey+p.Namespace+"/"+name)
		}
	}
	return keys
}

// keysOfTemplate: pods may have waited for it.
func keysOfTemplate(s client.Snapshot, e *store.Event) (keys []string) {
	if e.Type != store.Added {
		return nil
	}
	for p := range client.List[*corev1.Pod](s, e.Object.GetNamespace()) {
		if slices.ContainsFunc(p.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool {
			return c.ResourceClaimTemplateName != nil && *c.ResourceClaimTemplateName == e.Object.GetName()
		}) {
			keys = append(keys, podKey+p.Namespace+"/"+p.Name)
		}
	}
	return keys
}

// claimName is the name of the claim that a pod means, "" while there is none.
func claimName(p *corev1.Pod, c *corev1.PodResourceClaim) string {
	if c.ResourceClaimName != nil {
		return *c.ResourceClaimName
	}
	for _, s := range p.Status.ResourceClaimStatuses {
		if s.Name == c.Name && s.ResourceClaimName != nil {
			return *s.ResourceClaimName
		}
	}
	return ""
}

// owningPod is the pod that a claim was made for; nil if it was not made here.
func owningPod(c *resourcev1.ResourceClaim) *metav1.OwnerReference {
	if o := metav1.GetControllerOf(c); o != nil && o.Kind == "Pod" && o.APIVersion == "v1" {
		return o
	}
	return nil
}

// done says that a pod will not run any more.
func done(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil && p.Spec.NodeName == ""
}

func syncPod(ctx context.Context, c *client.Client, key string) error {
	snap := c.Snapshot()
	namespace, name, _ := strings.Cut(key, "/")
	p, ok := client.Get[*corev1.Pod](snap, namespace, name)
	if !ok || p.DeletionTimestamp != nil || done(p) {
		return nil
	}
	made := map[string]string{}
	var errs []error
	for i := range p.Spec.ResourceClaims {
		pc := &p.Spec.ResourceClaims[i]
		if pc.ResourceClaimTemplateName == nil {
			continue
		}
		claim, err := claimFor(ctx, c, snap, p, pc)
		if err != nil {
			errs = append(errs, fmt.Errorf("claim %q of pod %s: %w", pc.Name, key, err))
		} else if claim.Name != claimName(p, pc) {
			made[pc.Name] = claim.Name
		}
	}
	if len(made) > 0 {
		next, err := client.Change(ctx, c, p, "status", func(p *corev1.Pod) { setNames(p, made) })
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		p = next
	}
	return errors.Join(append(errs, reserveAll(ctx, c, p))...)
}

// claimFor finds the claim that was made for a pod, or makes it.
func claimFor(ctx context.Context, c *client.Client, snap client.Snapshot, p *corev1.Pod, pc *corev1.PodResourceClaim) (*resourcev1.ResourceClaim, error) {
	for claim := range client.List[*resourcev1.ResourceClaim](snap, p.Namespace) {
		owner := owningPod(claim)
		if owner != nil && owner.UID == p.UID && claim.DeletionTimestamp == nil && claim.Annotations[resourcev1.PodResourceClaimAnnotation] == pc.Name {
			return claim, nil
		}
	}
	template, ok := client.Get[*resourcev1.ResourceClaimTemplate](snap, p.Namespace, *pc.ResourceClaimTemplateName)
	if !ok {
		return nil, fmt.Errorf("resource claim template %q: not found", *pc.ResourceClaimTemplateName)
	}
	out, err := c.Create(ctx, newClaim(p, pc, template))
	if err != nil {
		return nil, err
	}
	return out.(*resourcev1.ResourceClaim), nil
}

// longestBase leaves room for the random end of a name.
const longestBase = 57

func newClaim(p *corev1.Pod, pc *corev1.PodResourceClaim, t *resourcev1.ResourceClaimTemplate) *resourcev1.ResourceClaim {
	base := p.Name + "-" + pc.Name + "-"
	if n := len(base); n > longestBase {
		base = p.Name[:len(p.Name)*longestBase/n] + "-" + pc.Name[:len(pc.Name)*longestBase/n]
	}
	spec := t.Spec.DeepCopy()
	if spec.Annotations == nil {
		spec.Annotations = map[string]string{}
	}
	spec.Annotations[resourcev1.PodResourceClaimAnnotation] = pc.Name
	yes := true
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, GenerateName: base, Labels: spec.Labels, Annotations: spec.Annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID, Controller: &yes}}},
		Spec: spec.Spec,
	}
}

// setNames writes the names of generated claims into a pod's status, sorted by the pod's names for them.
func setNames(p *corev1.Pod, made map[string]string) {
	list := slices.DeleteFunc(p.Status.ResourceClaimStatuses, func(s corev1.PodResourceClaimStatus) bool { return made[s.Name] != "" })
	for name, claim := range made {
		list = append(list, corev1.PodResourceClaimStatus{Name: name, ResourceClaimName: &claim})
	}
	slices.SortFunc(list, func(a, b corev1.PodResourceClaimStatus) int { return strings.Compare(a.Name, b.Name) })
	p.Status.ResourceClaimStatuses = list
}

// reserveAll reserves allocated claims for a pod that is on a node already.
func reserveAll(ctx context.Context, c *client.Client, p *corev1.Pod) error {
	if p.Spec.NodeName == "" {
		return nil
	}
	for i := range p.Spec.ResourceClaims {
		claim, ok := client.Get[*resourcev1.ResourceClaim](c.Snapshot(), p.Namespace, claimName(p, &p.Spec.ResourceClaims[i]))
		if !ok || claim.Status.Allocation == nil || claim.DeletionTimestamp != nil || len(claim.Status.ReservedFor) >= resourcev1.ResourceClaimReservedForMaxSize ||
			slices.ContainsFunc(claim.Status.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID == p.UID }) {
			continue
		}
		_, err := client.Change(ctx, c, claim, "status", func(claim *resourcev1.ResourceClaim) {
			claim.Status.ReservedFor = append(claim.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: p.Name, UID: p.UID})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// plan is what becomes of a claim.
type plan struct {
	// reservedFor are the users that remain; release says that this is fewer than before.
	reservedFor []resourcev1.ResourceClaimConsumerReference
	release     bool
	// deallocate takes the devices back, unprotect the finalizer that kept the claim while it had them, remove the claim.
	deallocate, unprotect, remove bool
}

// decide looks at a claim and the pods that it names.
func decide(claim *resourcev1.ResourceClaim, pod func(name string) *corev1.Pod) (pl plan) {
	for _, r := range claim.Status.ReservedFor {
		if r.APIGroup == "" && r.Resource == "pods" {
			if p := pod(r.Name); p == nil || p.UID != r.UID || done(p) {
				pl.release = true
				continue
			}
		}
		pl.reservedFor = append(pl.reservedFor, r)
	}
	if len(pl.reservedFor) > 0 {
		return pl
	}
	if slices.Contains(claim.Finalizers, resourcev1.Finalizer) && (pl.release || claim.DeletionTimestamp != nil) {
		pl.deallocate, pl.unprotect = claim.Status.Allocation != nil, true
	}
	if owner := owningPod(claim); owner != nil && claim.DeletionTimestamp == nil {
		if p := pod(owner.Name); p != nil && (p.UID != owner.UID || done(p)) {
			pl.remove = true
		}
	}
	return pl
}

func syncClaim(ctx context.Context, c *client.Client, key string) error {
	snap := c.Snapshot()
	namespace, name, _ := strings.Cut(key, "/")
	claim, ok := client.Get[*resourcev1.ResourceClaim](snap, namespace, name)
	if !ok {
		return nil
	}
	pl := decide(claim, func(name string) *corev1.Pod {
		p, _ := client.Get[*corev1.Pod](snap, namespace, name)
		return p
	})
	var err error
	if pl.release || pl.deallocate {
		if claim, err = client.Change(ctx, c, claim, "status", func(claim *resourcev1.ResourceClaim) {
			claim.Status.ReservedFor = pl.reservedFor
			if pl.deallocate {
				claim.Status.Allocation = nil
			}
		}); err != nil {
			return ignoreGone(err)
		}
	}
	if pl.unprotect {
		if claim, err = client.Change(ctx, c, claim, "", func(claim *resourcev1.ResourceClaim) {
			claim.Finalizers = slices.DeleteFunc(claim.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
		}); err != nil {
			return ignoreGone(err)
		}
	}
	if pl.remove {
		return ignoreGone(c.Delete(ctx, claim, metav1.DeleteOptions{}))
	}
	return nil
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
