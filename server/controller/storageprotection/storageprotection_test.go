package storageprotection_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/storageprotection"
)

func TestClaimStaysWhileAPodMountsIt(t *testing.T) {
	w := Start(t, func(func() time.Time) []controller.Controller {
		return []controller.Controller{storageprotection.NewClaims(), storageprotection.NewVolumes()}
	})
	node := w.Node("n")
	storage := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	claim := Create(w, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "c"}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: corev1.VolumeResourceRequirements{Requests: storage}}})
	volume := Create(w, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: storage, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}}})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p"}, Spec: Template("x").Spec}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
	pod = Create(w, pod)
	w.Bind(pod, node.Name)
	w.Settle()
	if f := Get(w, claim).Finalizers; len(f) != 1 || f[0] != wellknown.FinalizerClaimProtection {
		t.Fatalf("finalizers %q", f)
	}
	w.Idle()
	Mutate(w, volume, "status", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound })
	w.Delete(claim, "")
	w.Delete(volume, "")
	w.Settle()
	if !Exists(w, claim) || !Exists(w, volume) {
		t.Fatal("gone while in use")
	}
	Mutate(w, volume, "status", func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeReleased })
	w.Delete(pod, "")
	w.Reap()
	w.Settle()
	if Exists(w, claim) || Exists(w, volume) {
		t.Error("still there")
	}
	w.Idle()
}
