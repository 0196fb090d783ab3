package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/server/registry"
)

// The causes of a refused resize, for clients that want to know whether another size would help.
const (
	causeNodeCapacity        = metav1.CauseType("NodeCapacity")
	causeUnsupportedPlatform = metav1.CauseType("UnsupportedPlatform")
)

// podResize refuses at once a resize that can never fit on the pod's node.
func podResize(c *Config) registry.Plugin {
	return registry.Plugin{Name: "PodResizeValidator", Validate: func(_ context.Context, a *registry.Attributes) error {
		pod, ok := a.Object.(*corev1.Pod)
		old, also := a.Old.(*corev1.Pod)
		if !ok || !also || a.Subresource != "resize" || a.Verb != registry.VerbUpdate || pod.Spec.NodeName == "" || pod.Generation == old.Generation {
			return nil
		}
		node, ok := get[*corev1.Node](c, "", pod.Spec.NodeName)
		if !ok {
			return forbidden(a, "node %q not found", pod.Spec.NodeName)
		}
		if system, ok := node.Labels[corev1.LabelOSStable]; ok && system != "linux" {
			return resizeRefusal(a, causeUnsupportedPlatform, "pod resize is only supported on linux nodes, node %q is %q", node.Name, system)
		}
		if lacking := lackingOn(pod, node.Status.Allocatable); lacking != "" {
			return resizeRefusal(a, causeNodeCapacity, "node didn't have enough allocatable resources: %s", lacking)
		}
		return nil
	}}
}

// lackingOn says of which resources a pod asks for more than a node has.
func lackingOn(pod *corev1.Pod, allocatable corev1.ResourceList) string {
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	var lacking []string
	if cpu := requests[corev1.ResourceCPU]; cpu.Cmp(*allocatable.Cpu()) > 0 {
		lacking = append(lacking, fmt.Sprintf("cpu, requested: %d, allocatable: %d", cpu.MilliValue(), allocatable.Cpu().MilliValue()))
	}
	if memory := requests[corev1.ResourceMemory]; memory.Cmp(*allocatable.Memory()) > 0 {
		lacking = append(lacking, fmt.Sprintf("memory, requested: %d, allocatable: %d", memory.Value(), allocatable.Memory().Value()))
	}
	return strings.Join(lacking, "; ")
}

func resizeRefusal(a *registry.Attributes, cause metav1.CauseType, format string, args ...any) error {
	err := forbidden(a, format, args...)
	if status := (*apierrors.StatusError)(nil); errors.As(err, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return err
}
