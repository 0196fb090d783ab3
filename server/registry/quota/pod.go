package quota

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/server/api"
)

// native are the resources that a quota may limit by request and by limit, and by request under their own names.
var native = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

// addPod: a pod that has ended uses nothing but its place in the count of objects. One that is being resized uses what
// it has or what it asks for, whichever is more.
func addPod(usage corev1.ResourceList, obj runtime.Object, now time.Time) {
	p, ok := obj.(*corev1.Pod)
	if !ok || ended(p, now) {
		return
	}
	usage[corev1.ResourcePods] = count(1)
	opts := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	for name, amount := range resourcehelper.PodRequests(p, opts) {
		hugePages := strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		ours := slices.Contains(native, name)
		if ours || hugePages {
			usage[name] = amount
		}
		if ours || hugePages || isDevice(name) {
			usage[corev1.DefaultResourceRequestsPrefix+name] = amount
		}
	}
	limits := resourcehelper.PodLimits(p, opts)
	for _, name := range native {
		if amount, ok := limits[name]; ok {
			usage["limits."+name] = amount
		}
	}
}

// isDevice tells the names of extended resources, and those that stand for a device class.
func isDevice(n corev1.ResourceName) bool {
	return api.IsExtendedResource(n) || strings.HasPrefix(string(n), resourcev1.ResourceDeviceClassPrefix)
}

func ended(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return true
	}
	end, dying := GivenUp(p)
	return dying && now.After(end)
}

// GivenUp is when a pod that is being deleted stops to use anything even if nobody confirms its end (a lost node): a
// second grace period after the first, as upstream has it.
func GivenUp(p *corev1.Pod) (end time.Time, dying bool) {
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return time.Time{}, false
	}
	return p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second), true
}

func usedByPods(n corev1.ResourceName) bool {
	s := string(n)
	name, prefixed := strings.CutPrefix(s, corev1.DefaultResourceRequestsPrefix)
	if !prefixed {
		name = strings.TrimPrefix(s, "limits.")
	}
	switch {
	case n == corev1.ResourcePods, slices.Contains(native, corev1.ResourceName(name)), ofDevices(n):
		return true
	}
	return strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) && !strings.HasPrefix(s, "limits.")
}

// Unspecified says which compute resources a quota limits that containers of a pod do not name: "must specify cpu for:
// a,b; limits.memory for: b"; "" if there are none. Only these resources must be named, and not where the pod names its own.
func Unspecified(quota *corev1.ResourceQuota, obj runtime.Object) string {
	pod, ok := obj.(*corev1.Pod)
	if !ok || resourcehelper.IsPodLevelResourcesSet(pod) {
		return ""
	}
	missing := map[corev1.ResourceName][]string{}
	for name := range quota.Spec.Hard {
		for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range containers {
				if !specifies(&containers[i].Resources, name) {
					missing[name] = append(missing[name], containers[i].Name)
				}
			}
		}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[name])
		parts = append(parts, string(name)+" for: "+strings.Join(missing[name], ","))
	}
	if len(parts) == 0 {
		return ""
	}
	return "must specify " + strings.Join(parts, "; ")
}

func specifies(r *corev1.ResourceRequirements, name corev1.ResourceName) (have bool) {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceRequestsCPU:
		_, have = r.Requests[corev1.ResourceCPU]
	case corev1.ResourceMemory, corev1.ResourceRequestsMemory:
		_, have = r.Requests[corev1.ResourceMemory]
	case corev1.ResourceLimitsCPU:
		_, have = r.Limits[corev1.ResourceCPU]
	case corev1.ResourceLimitsMemory:
		_, have = r.Limits[corev1.ResourceMemory]
	default:
		return true
	}
	return have
}
