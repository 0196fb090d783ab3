package admission

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/registry"
	rules "codeberg.org/skiff/skiff/server/registry/quota"
	"codeberg.org/skiff/skiff/server/store"
)

// resourceQuota keeps the objects of a namespace within its ResourceQuotas.
//
// What is used is added up from the newest snapshot at each create, not read from the quota's status, so it is never
// stale; creates whose writes are not visible there yet are added from held. Looking and holding is one step under mu.
// With several servers the charge must move into the quota's status, with compare and swap, as upstream has it.
func resourceQuota(c *Config) registry.Plugin {
	q := &quotas{Config: c, held: map[string]map[string]charge{}}
	return registry.Plugin{Name: "ResourceQuota", Validate: func(_ context.Context, a *registry.Attributes) error {
		if a.Verb != registry.VerbCreate || a.Subresource != "" || !a.Kind.Namespaced || a.Kind.Virtual {
			return nil
		}
		return q.admit(a)
	}}
}

type quotas struct {
	*Config
	mu sync.Mutex
	// held is what creates under way are charged: namespace, then "resource/name".
	held map[string]map[string]charge
}

// charge is what one object uses, and the object (scopes look at it); pod is nil if it is of another kind.
type charge struct {
	usage corev1.ResourceList
	obj   runtime.Object
	pod   *corev1.Pod
	kind  string
	// visible says whether the object is in a snapshot, and so counted there.
	visible func(*store.Snapshot) bool
}

func (q *quotas) admit(a *registry.Attributes) error {
	snap := q.Store.Snapshot()
	limits := list[*corev1.ResourceQuota](q.Config, snap, a.Namespace)
	if len(limits) == 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	snap = q.Store.Snapshot()
	mine := q.chargeOf(a)
	for _, quota := range limits {
		if !rules.InScope(quota, mine.obj) {
			continue
		}
		if err := q.check(a, snap, quota, mine); err != nil {
			return err
		}
	}
	key := a.Kind.Plural + "." + a.Kind.Group + "/" + a.Name
	if q.held[a.Namespace] == nil {
		q.held[a.Namespace] = map[string]charge{}
	}
	q.held[a.Namespace][key] = mine
	a.AfterWrite(func(bool) { q.release(a.Namespace, key) })
	return nil
}

func (q *quotas) release(namespace, key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.held[namespace], key)
	if len(q.held[namespace]) == 0 {
		delete(q.held, namespace)
	}
}

func (q *quotas) chargeOf(a *registry.Attributes) charge {
	pod, _ := a.Object.(*corev1.Pod)
	return charge{
		usage: rules.UsageOf(a.Kind, a.Object), obj: a.Object, pod: pod, kind: a.Kind.Plural,
		visible: func(s *store.Snapshot) bool { return s.Get(a.Kind, a.Namespace, a.Name) != nil },
	}
}

// check refuses what would go over one quota.
func (q *quotas) check(a *registry.Attributes, snap *store.Snapshot, quota *corev1.ResourceQuota, mine charge) error {
	if missing := unspecified(quota, mine); len(missing) > 0 {
		return forbidden(a, "failed quota: %s: must specify %s", quota.Name, strings.Join(missing, ","))
	}
	requested := corev1.ResourceList{}
	for name := range quota.Spec.Hard {
		if amount, ok := mine.usage[name]; ok {
			requested[name] = amount
		}
	}
	if len(requested) == 0 {
		return nil
	}
	used := q.used(snap, quota, requested)
	var over []corev1.ResourceName
	for name, amount := range requested {
		sum := used[name]
		sum.Add(amount)
		if hard := quota.Spec.Hard[name]; sum.Cmp(hard) > 0 && !amount.IsZero() {
			over = append(over, name)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return forbidden(a, "exceeded quota: %s, requested: %s, used: %s, limited: %s",
		quota.Name, show(requested, over), show(used, over), show(quota.Spec.Hard, over))
}

// used adds up what the namespace has of the resources asked for, and what is under way.
func (q *quotas) used(snap *store.Snapshot, quota *corev1.ResourceQuota, asked corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for name := range asked {
		sum[name] = resource.Quantity{}
	}
	add := func(usage corev1.ResourceList) {
		for name := range asked {
			if amount, ok := usage[name]; ok {
				total := sum[name]
				total.Add(amount)
				sum[name] = total
			}
		}
	}
	for _, kind := range q.Catalogue.Kinds() {
		if !rules.UsesAny(kind, asked) {
			continue
		}
		for obj := range snap.List(kind, quota.Namespace, "") {
			if rules.InScope(quota, obj) {
				add(rules.UsageOf(kind, obj))
			}
		}
	}
	for _, c := range q.held[quota.Namespace] {
		if rules.InScope(quota, c.obj) && !c.visible(snap) {
			add(c.usage)
		}
	}
	return sum
}

// show prints amounts as "cpu=1,pods=2".
func show(amounts corev1.ResourceList, names []corev1.ResourceName) string {
	slices.Sort(names)
	parts := make([]string, len(names))
	for i, name := range names {
		amount := amounts[name]
		parts[i] = string(name) + "=" + amount.String()
	}
	return strings.Join(parts, ",")
}

// unspecified are the compute resources that a quota limits and that a pod's containers must therefore name.
func unspecified(quota *corev1.ResourceQuota, mine charge) []string {
	if mine.pod == nil {
		return nil
	}
	var out []string
	for name := range maps.Keys(quota.Spec.Hard) {
		for _, containers := range [][]corev1.Container{mine.pod.Spec.Containers, mine.pod.Spec.InitContainers} {
			for i := range containers {
				if s := missingIn(&containers[i], name); s != "" {
					out = append(out, s+" for: "+containers[i].Name)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

func missingIn(c *corev1.Container, name corev1.ResourceName) string {
	var have bool
	switch name {
	case corev1.ResourceCPU, corev1.ResourceRequestsCPU:
		_, have = c.Resources.Requests[corev1.ResourceCPU]
	case corev1.ResourceMemory, corev1.ResourceRequestsMemory:
		_, have = c.Resources.Requests[corev1.ResourceMemory]
	case corev1.ResourceLimitsCPU:
		_, have = c.Resources.Limits[corev1.ResourceCPU]
	case corev1.ResourceLimitsMemory:
		_, have = c.Resources.Limits[corev1.ResourceMemory]
	default:
		return ""
	}
	if have {
		return ""
	}
	return string(name)
}
