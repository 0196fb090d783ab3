package features

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestDeclared(t *testing.T) {
	want := []string{"InPlacePodLevelResourcesVerticalScaling", "InPlacePodVerticalScalingInitContainers", "RestartAllContainersOnContainerExits"}
	if got := (Gates{}).Declared(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNeeded(t *testing.T) {
	plain := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	if got := Needed(&plain.Spec); got != nil {
		t.Errorf("an ordinary pod needs %v", got)
	}
	no, all := false, plain.DeepCopy()
	all.Spec.HostNetwork, all.Spec.HostUsers = true, &no
	all.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}
	if got := Needed(&all.Spec); !slices.Equal(got, []string{"RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport"}) {
		t.Errorf("got %v", got)
	}
	resized := plain.DeepCopy()
	resized.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}
	got := NeededByUpdate(plain, resized)
	if !slices.Equal(got, []string{"InPlacePodLevelResourcesVerticalScaling"}) || Missing(got, (Gates{}).Declared()) != nil || len(Missing(got, nil)) != 1 {
		t.Errorf("a resize of the pod needs %v", got)
	}
}
