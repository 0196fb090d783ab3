package statefulset

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// revisionLabel holds the name of a pod's revision.
const revisionLabel = appsv1.StatefulSetRevisionLabel

// ordinalOf is the number at the end of a pod's name; -1 if it is no pod of a StatefulSet of that name.
func ordinalOf(set string, pod *corev1.Pod) int {
	text, ok := strings.CutPrefix(pod.Name, set+"-")
	n, err := strconv.ParseUint(text, 10, 31)
	if !ok || err != nil || strconv.FormatUint(n, 10) != text {
		return -1
	}
	return int(n)
}

// member tells whether a pod has the name of a pod of the set.
func member(set *appsv1.StatefulSet, pod *corev1.Pod) bool { return ordinalOf(set.Name, pod) >= 0 }

// start is the number of the set's first pod.
func start(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals != nil {
		return int(set.Spec.Ordinals.Start)
	}
	return 0
}

func size(set *appsv1.StatefulSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

// wanted tells whether the set should have a pod of this number.
func wanted(set *appsv1.StatefulSet, ordinal int) bool {
	return ordinal >= start(set) && ordinal < start(set)+size(set)
}

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return set.Name + "-" + strconv.Itoa(ordinal)
}

// podOf makes the pod of a number from a template.
func podOf(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, ordinal int) *corev1.Pod {
	pod := replica.PodOf(template, set, *metav1.NewControllerRef(set, gvk))
	pod.GenerateName, pod.Name = "", podName(set, ordinal)
	pod.Labels = maps.Clone(pod.Labels)
	identify(pod, ordinal)
	pod.Labels[revisionLabel] = revision
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
	var volumes []corev1.Volume
	claimed := map[string]bool{}
	for i := range set.Spec.VolumeClaimTemplates {
		t := &set.Spec.VolumeClaimTemplates[i]
		claimed[t.Name] = true
		volumes = append(volumes, corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, t.Name, ordinal)}}})
	}
	for _, v := range pod.Spec.Volumes {
		if !claimed[v.Name] {
			volumes = append(volumes, v)
		}
	}
	pod.Spec.Volumes = volumes
	return pod
}

// identify writes the labels by which a pod says which one it is.
func identify(pod *corev1.Pod, ordinal int) {
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	pod.Labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
}
