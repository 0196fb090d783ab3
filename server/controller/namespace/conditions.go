package namespace

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// decideConditions says in upstream's five conditions what keeps the namespace; changed is false if that is known already.
func decideConditions(have []corev1.NamespaceCondition, left []content, undiscovered, failed error, now metav1.Time) (want []corev1.NamespaceCondition, changed bool) {
	var remaining, waiting []string
	finalizers := map[string]int{}
	for _, found := range left {
		remaining = append(remaining, fmt.Sprintf("%s has %d resource instances", found.resource, len(found.objects)))
		for _, obj := range found.objects {
			for _, f := range obj.GetFinalizers() {
				finalizers[f]++
			}
		}
	}
	for f, n := range finalizers {
		waiting = append(waiting, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	slices.Sort(waiting)

	want = slices.Clone(have)
	set := func(kind corev1.NamespaceConditionType, bad bool, goodReason, goodMessage, badReason, badMessage string) {
		c := corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: goodReason, Message: goodMessage, LastTransitionTime: now}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, badReason, badMessage
		}
		changed = setCondition(&want, c) || changed
	}
	message, undiscoveredMessage := "", ""
	if failed != nil {
		message = "Failed to delete all resource types: " + failed.Error()
	}
	if undiscovered != nil {
		undiscoveredMessage = "Discovery failed for some groups, " + undiscovered.Error()
	}
	set(corev1.NamespaceDeletionDiscoveryFailure, undiscovered != nil, "ResourcesDiscovered", "All resources successfully discovered", "DiscoveryFailed", undiscoveredMessage)
	set(corev1.NamespaceDeletionGVParsingFailure, false, "ParsedGroupVersions", "All legacy kube types successfully parsed", "", "")
	set(corev1.NamespaceDeletionContentFailure, failed != nil, "ContentDeleted", "All content successfully deleted, may be waiting on finalization", "ContentDeletionFailed", message)
	set(corev1.NamespaceContentRemaining, len(remaining) > 0, "ContentRemoved", "All content successfully removed", "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(remaining, ", "))
	set(corev1.NamespaceFinalizersRemaining, len(waiting) > 0, "ContentHasNoFinalizers", "All content-preserving finalizers finished", "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(waiting, ", "))
	return want, changed
}

func setCondition(list *[]corev1.NamespaceCondition, c corev1.NamespaceCondition) (changed bool) {
	for i, have := range *list {
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		(*list)[i] = c
		return have != c
	}
	*list = append(*list, c)
	return true
}
