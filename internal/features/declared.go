package features

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/component-helpers/nodedeclaredfeatures"
	"k8s.io/component-helpers/nodedeclaredfeatures/types"
)

// Nodes declare in their status which of a few features they have (status.declaredFeatures, KEP-5328); scheduler, admission
// and kubelet look at what a pod needs of them. Which those are, and what needs them, is in Kubernetes' own library.

// of upstream's version, up to which some features have to be declared.
var ofVersion = version.MustParse("1.37.2")

var declared = nodedeclaredfeatures.DefaultFramework

// Declared are the features that a node has to name, sorted.
func (g Gates) Declared() []string {
	return declared.DiscoverNodeFeatures(&types.NodeConfiguration{FeatureGates: g, Version: ofVersion})
}

// Needed are the features that a node must declare to run a pod.
func Needed(spec *corev1.PodSpec) []string {
	set, err := declared.InferForPodScheduling(&types.PodInfo{Spec: spec}, ofVersion)
	return names(set, err)
}

// NeededByUpdate are those that the pod's node must declare for a change of the pod, which has been validated.
func NeededByUpdate(old, pod *corev1.Pod) []string {
	set, err := declared.InferForPodUpdate(&types.PodInfo{Spec: &old.Spec, Status: &old.Status}, &types.PodInfo{Spec: &pod.Spec, Status: &pod.Status}, ofVersion)
	return names(set, err)
}

func names(set nodedeclaredfeatures.FeatureSet, err error) []string {
	if err == nil && set.IsEmpty() {
		return nil
	}
	var out []string
	if err == nil {
		out, err = declared.Unmap(set)
	}
	if err != nil {
		panic(fmt.Sprintf("features of the library's own table: %v", err)) // there is a version, and one table
	}
	return out
}

// Missing are the needed features that a node has not declared.
func Missing(needed, has []string) (out []string) {
	for _, name := range needed {
		if !slices.Contains(has, name) {
			out = append(out, name)
		}
	}
	return out
}
