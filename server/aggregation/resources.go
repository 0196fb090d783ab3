package aggregation

import (
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/controller"
)

// Resources are what the other servers said last that they serve; see controller.Foreign.
func (a *Aggregator) Resources() (served []controller.ForeignResource, failed []schema.GroupVersion) {
	list := a.shown.Load()
	if list == nil {
		return nil, nil
	}
	at, priority := map[schema.GroupResource]int{}, map[schema.GroupResource]int32{}
	for _, f := range *list {
		if f.Stale {
			failed = append(failed, f.GroupVersion)
			continue
		}
		for _, r := range f.Resources {
			gr := schema.GroupResource{Group: f.GroupVersion.Group, Resource: r.Resource}
			i, known := at[gr]
			switch {
			case !known:
				at[gr] = len(served)
				served = append(served, foreignResource(f, r))
			case f.VersionPriority > priority[gr]:
				served[i] = foreignResource(f, r)
			default:
				continue
			}
			priority[gr] = f.VersionPriority
		}
	}
	return served, failed
}

func foreignResource(f discovery.Foreign, r apidiscoveryv2.APIResourceDiscovery) controller.ForeignResource {
	out := controller.ForeignResource{GroupVersionResource: f.GroupVersion.WithResource(r.Resource), Namespaced: r.Scope == apidiscoveryv2.ScopeNamespace, Verbs: r.Verbs}
	if r.ResponseKind != nil {
		out.Kind = r.ResponseKind.Kind
	}
	return out
}
