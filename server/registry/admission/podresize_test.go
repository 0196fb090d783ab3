package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestLackingOn(t *testing.T) {
	amounts := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	for _, test := range []struct{ cpu, memory, want string }{
		{"2", "1Gi", ""},
		{"2001m", "1Gi", "cpu, requested: 2001, allocatable: 2000"},
		{"3", "2Gi", "cpu, requested: 3000, allocatable: 2000; memory, requested: 2147483648, allocatable: 1073741824"},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: amounts(test.cpu, test.memory)}}}}}
		if got := lackingOn(pod, amounts("2", "1Gi")); got != test.want {
			t.Errorf("%s, %s: got %q, want %q", test.cpu, test.memory, got, test.want)
		}
	}
}
