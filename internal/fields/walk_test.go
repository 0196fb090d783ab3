package fields

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func odd() corev1.PodSpec {
	user, mode := int64(7), int32(0o700)
	return corev1.PodSpec{
		SchedulingGroup: &corev1.PodSchedulingGroup{},
		Containers:      []corev1.Container{{Name: "a"}, {Name: "b", VolumeMounts: []corev1.VolumeMount{{Name: "v", BindMountOptions: []string{"noexec"}}}}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Mode: &mode}}},
			{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{DefaultUser: &user, SecretName: "x"}}}},
	}
}

func TestDrop(t *testing.T) {
	pod := &corev1.Pod{Spec: odd()}
	want := []string{
		"spec.volumes[0].emptyDir.mode: dropped, since the feature gate EmptyDirVolumeMode is off",
		"spec.volumes[1].secret.defaultUser: dropped, since the feature gate AtomicWriteVolumeUserFields is off",
		"spec.containers[1].volumeMounts[0].bindMountOptions: dropped, since the feature gate VolumeBindMountOptions is off",
		"spec.schedulingGroup: dropped, since the feature gate GenericWorkload is off",
	}
	if got := Drop(pod, nil); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	s := pod.Spec
	if s.SchedulingGroup != nil || s.Volumes[0].EmptyDir == nil || s.Volumes[0].EmptyDir.Mode != nil || s.Volumes[1].Secret.DefaultUser != nil ||
		s.Volumes[1].Secret.SecretName != "x" || s.Containers[1].VolumeMounts[0].BindMountOptions != nil || s.Containers[1].Name != "b" {
		t.Errorf("left %+v", s)
	}
	if got := Drop(pod, nil); got != nil {
		t.Errorf("again: %q", got)
	}
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: odd()}}}
	if got := Drop(d, (*appsv1.Deployment)(nil)); len(got) != 4 || got[3] != "spec.template.spec.schedulingGroup: dropped, since the feature gate GenericWorkload is off" {
		t.Errorf("of a template: %q", got)
	}
	// What another cluster has stored stays, gate by gate.
	old := &corev1.Pod{Spec: corev1.PodSpec{SchedulingGroup: &corev1.PodSchedulingGroup{}}}
	next := &corev1.Pod{Spec: odd()}
	if got := Drop(next, old); len(got) != 3 || next.Spec.SchedulingGroup == nil {
		t.Errorf("of an update: %q", got)
	}
	if got := Drop(&unstructured.Unstructured{Object: map[string]any{"spec": 1}}, nil); got != nil {
		t.Errorf("of a custom object: %q", got)
	}
}

func TestWarnings(t *testing.T) {
	lb := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	if got := Warnings("", "Service", lb); len(got) != 1 || got[0][:11] != "spec.type: " {
		t.Errorf("%q", got)
	}
	if got := Warnings("", "Service", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}}); got != nil {
		t.Errorf("%q", got)
	}
	if got := Warnings("networking.k8s.io", "NetworkPolicy", &networkingv1.NetworkPolicy{}); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if got := Warnings("", "Pod", &corev1.Pod{Spec: odd()}); got != nil {
		t.Errorf("%q", got)
	}
}

func BenchmarkDrop(b *testing.B) {
	pod := &corev1.Pod{Spec: odd()}
	Drop(pod, nil)
	b.ReportAllocs()
	for b.Loop() {
		Drop(pod, nil)
	}
}
