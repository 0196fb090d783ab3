package aggregation

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/outbound"
)

// table says which server has which group version. Immutable; nil is empty.
type table map[schema.GroupVersion]*backend

// backend is another server's group version.
type backend struct {
	name      string
	gv        schema.GroupVersion
	target    outbound.Target
	available bool
	// priorities as the APIService has them.
	groupPriority, versionPriority int32
	// slots bound how many requests it can hold up.
	slots chan struct{}
}

// slotsPerBackend is how many requests wait for one group version of another server at once.
const slotsPerBackend = 200

func gvOf(s *apiregistrationv1.APIService) schema.GroupVersion {
	return schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version}
}

// newTable reads the APIServices; backends that go on keep their slots.
func newTable(s client.Snapshot, old table) table {
	var t table
	for svc := range client.List[*apiregistrationv1.APIService](s, "") {
		if svc.Spec.Service == nil {
			continue
		}
		if t == nil {
			t = table{}
		}
		b := &backend{name: svc.Name, gv: gvOf(svc), target: targetOf(svc), available: isAvailable(svc),
			groupPriority: svc.Spec.GroupPriorityMinimum, versionPriority: svc.Spec.VersionPriority}
		if was := old[b.gv]; was != nil {
			b.slots = was.slots
		} else {
			b.slots = make(chan struct{}, slotsPerBackend)
		}
		t[b.gv] = b
	}
	return t
}

func targetOf(s *apiregistrationv1.APIService) outbound.Target {
	t := outbound.Target{Service: &outbound.Service{Namespace: s.Spec.Service.Namespace, Name: s.Spec.Service.Name},
		CABundle: s.Spec.CABundle, Insecure: s.Spec.InsecureSkipTLSVerify, FrontProxy: true}
	if s.Spec.Service.Port != nil {
		t.Service.Port = *s.Spec.Service.Port
	}
	return t
}

func isAvailable(s *apiregistrationv1.APIService) bool {
	c := condition(s)
	return c != nil && c.Status == apiregistrationv1.ConditionTrue
}

func condition(s *apiregistrationv1.APIService) *apiregistrationv1.APIServiceCondition {
	for i := range s.Status.Conditions {
		if s.Status.Conditions[i].Type == apiregistrationv1.Available {
			return &s.Status.Conditions[i]
		}
	}
	return nil
}

// sorted by the priority of groups, then by name, as discovery shows them.
func (t table) sorted() []*backend {
	list := make([]*backend, 0, len(t))
	for _, b := range t {
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b *backend) int {
		if a.groupPriority != b.groupPriority {
			return int(b.groupPriority - a.groupPriority)
		}
		return strings.Compare(a.gv.String(), b.gv.String())
	})
	return list
}
