package resourceclaim_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/resourceclaim"
)

func TestAClaimLivesAsLongAsItsPodRuns(t *testing.T) {
	w := Start(t, func(func() time.Time) []controller.Controller { return []controller.Controller{resourceclaim.New()} })
	template := "gpu"
	pod := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p"}, Spec: corev1.PodSpec{
		Containers:     []corev1.Container{{Name: "c", Image: "i"}},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "dev", ResourceClaimTemplateName: &template}}}})
	w.Node("n")
	w.Bind(pod, "n")
	// The template comes late.
	Create(w, &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: template},
		Spec: resourcev1.ResourceClaimTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"from": "template"}},
			Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r",
				Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "class"}}}}}}})
	var claim *resourcev1.ResourceClaim
	w.Eventually(func() string {
		claims, statuses := List[*resourcev1.ResourceClaim](w), Get(w, pod).Status.ResourceClaimStatuses
		if len(claims) != 1 || len(statuses) != 1 || *statuses[0].ResourceClaimName != claims[0].Name {
			return "no claim, or the pod does not name it"
		}
		claim = claims[0]
		return ""
	})
	if claim.Labels["from"] != "template" || claim.Annotations[resourcev1.PodResourceClaimAnnotation] != "dev" || claim.Spec.Devices.Requests[0].Exactly.Count != 1 {
		t.Errorf("the claim is %+v", claim)
	}
	w.Idle()
	Mutate(w, claim, "", func(c *resourcev1.ResourceClaim) { c.Finalizers = []string{resourcev1.Finalizer} })
	Mutate(w, claim, "status", func(c *resourcev1.ResourceClaim) {
		c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
			{Request: "r", Driver: "d.example.com", Pool: "p", Device: "d0"}}}}
	})
	w.Eventually(func() string {
		if r := Get(w, claim).Status.ReservedFor; len(r) != 1 || r[0].Name != "p" {
			return "it is not reserved"
		}
		return ""
	})
	w.Idle()
	w.Finish(pod, 0)
	w.Eventually(func() string {
		if Exists(w, claim) {
			return "the claim outlived its pod's work"
		}
		return ""
	})
	w.Idle()
}

func TestASharedClaimIsGivenBackAndStays(t *testing.T) {
	w := Start(t, func(func() time.Time) []controller.Controller { return []controller.Controller{resourceclaim.New()} })
	claim := Create(w, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "shared", Finalizers: []string{resourcev1.Finalizer}},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "class"}}}}}})
	Mutate(w, claim, "status", func(c *resourcev1.ResourceClaim) {
		c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
			{Request: "r", Driver: "d.example.com", Pool: "p", Device: "d0"}}}}
		c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "gone", UID: "x"}}
	})
	w.Eventually(func() string {
		c := Get(w, claim)
		if len(c.Status.ReservedFor) > 0 || c.Status.Allocation != nil || len(c.Finalizers) > 0 {
			return "it still holds what nobody uses"
		}
		return ""
	})
	w.Idle()
}
