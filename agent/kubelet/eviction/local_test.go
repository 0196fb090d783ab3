package eviction

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestExceeded(t *testing.T) {
	limit := resource.MustParse("1Mi")
	volume := func(medium corev1.StorageMedium) corev1.Volume {
		return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: medium, SizeLimit: &limit}}}
	}
	container := func(name, limit string) corev1.Container {
		c := corev1.Container{Name: name}
		if limit != "" {
			c.Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
		}
		return c
	}
	for name, tt := range map[string]struct {
		spec    corev1.PodSpec
		use     Local
		limited bool
		want    string
	}{
		"no limits":           {corev1.PodSpec{Containers: []corev1.Container{container("a", "")}}, Local{Containers: map[string]int64{"a": 1 << 40}}, false, ""},
		"volume":              {corev1.PodSpec{Volumes: []corev1.Volume{volume("")}}, Local{Volumes: map[string]int64{"v": 1<<20 + 1}}, true, `EmptyDir volume "v" exceeds the limit "1Mi"`},
		"volume that is full": {corev1.PodSpec{Volumes: []corev1.Volume{volume("")}}, Local{Volumes: map[string]int64{"v": 1 << 20}}, true, ""},
		"volume in memory":    {corev1.PodSpec{Volumes: []corev1.Volume{volume(corev1.StorageMediumMemory)}}, Local{Volumes: map[string]int64{"v": 1 << 30}}, false, ""},
		"pod": {corev1.PodSpec{Containers: []corev1.Container{container("a", "1Mi"), container("b", "1Mi")}},
			Local{Volumes: map[string]int64{"x": 2 << 20}, Containers: map[string]int64{"a": 1}}, true, "total limit of containers 2Mi"},
		"container": {corev1.PodSpec{Containers: []corev1.Container{container("a", "1Mi"), container("b", "")}},
			Local{Containers: map[string]int64{"a": 2 << 20}}, true, `Container a exceeded its local ephemeral storage limit "1Mi"`},
	} {
		pod := &corev1.Pod{Spec: tt.spec}
		if got := Limited(pod); got != tt.limited {
			t.Errorf("%s: limited %v", name, got)
		}
		message, over := Exceeded(pod, tt.use)
		if over != (tt.want != "") || !strings.Contains(message, tt.want) {
			t.Errorf("%s: %q", name, message)
		}
	}
}
