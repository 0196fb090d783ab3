package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// addResourceClaim charges a claim by device class for the most devices that it may get, under three names: the class's,
// and the two under which pods ask for such devices as an extended resource.
func (v View) addResourceClaim(usage corev1.ResourceList, obj runtime.Object) {
	c, ok := obj.(*resourcev1.ResourceClaim)
	if !ok {
		return
	}
	var charged corev1.ResourceList
	if needsPod(c) {
		charged = v.chargedToPod(c)
	}
	extended := map[corev1.ResourceName]int64{}
	for class, n := range devices(c) {
		usage[corev1.ResourceName(class+corev1.ResourceClaimsPerClass)] = count(n)
		extended[corev1.ResourceName(corev1.ResourceImplicitExtendedClaimsPerClass+class)] += n
		if name := v.extendedResource(class); name != "" {
			extended[corev1.ResourceName(corev1.DefaultResourceRequestsPrefix+name)] += n
		}
	}
	for name, n := range extended {
		amount := count(n)
		if have, ok := charged[name]; ok {
			amount.Sub(have)
		}
		if amount.Sign() > 0 {
			usage[name] = amount
		}
	}
}

// devices of each class that a claim may get.
func devices(c *resourcev1.ResourceClaim) map[string]int64 {
	sum := map[string]int64{}
	for i := range c.Spec.Devices.Requests {
		r := &c.Spec.Devices.Requests[i]
		if len(r.FirstAvailable) == 0 {
			if e := r.Exactly; e != nil {
				sum[e.DeviceClassName] += most(e.AllocationMode, e.Count)
			}
			continue
		}
		// One of the alternatives will be taken, and nobody knows which.
		worst := map[string]int64{}
		for _, alternative := range r.FirstAvailable {
			worst[alternative.DeviceClassName] = max(worst[alternative.DeviceClassName], most(alternative.AllocationMode, alternative.Count))
		}
		for class, n := range worst {
			sum[class] += n
		}
	}
	return sum
}

// most devices that one request can get; those of a mode that is not known yet are not charged.
func most(mode resourcev1.DeviceAllocationMode, n int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return n
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0
}

// extendedResource is the name under which pods may request devices of a class; "" if there is none.
func (v View) extendedResource(class string) string {
	if c, ok := get[*resourcev1.DeviceClass](v, "", class); ok && c.Spec.ExtendedResourceName != nil {
		return *c.Spec.ExtendedResourceName
	}
	return ""
}

// needsPod tells the claims that the scheduler makes for the extended resources of a pod.
func needsPod(c *resourcev1.ResourceClaim) bool {
	return c.Annotations[resourcev1.ExtendedResourceClaimAnnotation] == "true"
}

// chargedToPod is what the pod that a claim was made for is charged already. Anybody may write the annotation, so the
// pod must exist and agree; while it does not say which claim is its own, that is the first one of those it owns.
func (v View) chargedToPod(c *resourcev1.ResourceClaim) corev1.ResourceList {
	owner := metav1.GetControllerOfNoCopy(c)
	if owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" {
		return nil
	}
	pod, ok := get[*corev1.Pod](v, c.Namespace, owner.Name)
	if !ok || pod.UID != owner.UID {
		return nil
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil && s.ResourceClaimName != c.Name || s == nil && !v.firstOf(owner, c) {
		return nil
	}
	usage := corev1.ResourceList{}
	addPod(usage, pod, v.Now)
	return usage
}

func (v View) firstOf(owner *metav1.OwnerReference, c *resourcev1.ResourceClaim) bool {
	for obj := range v.Snapshot.List(v.Catalogue.ByObject(c), c.Namespace, "") {
		other, ok := obj.(*resourcev1.ResourceClaim)
		if !ok || !needsPod(other) || other.Name == c.Name {
			continue
		}
		if ref := metav1.GetControllerOfNoCopy(other); ref == nil || ref.UID != owner.UID {
			continue
		}
		if d := other.CreationTimestamp.Compare(c.CreationTimestamp.Time); d < 0 || d == 0 && strings.Compare(other.Name, c.Name) < 0 {
			return false
		}
	}
	return true
}
