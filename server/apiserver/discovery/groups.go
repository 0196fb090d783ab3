package discovery

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"sort"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"codeberg.org/skiff/skiff/server/api"
)

type group struct {
	name     string
	versions []groupVersion // best first
}

type groupVersion struct {
	name  string
	kinds []servedKind
	// foreign is set for a version that another server serves.
	foreign *Foreign
}

type servedKind struct {
	*api.Kind
	version *api.Version
}

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// groupsOf sorts the catalogue by group and version, as clients prefer them: core first, then in catalogue order, then
// what other servers have.
func groupsOf(kinds []*api.Kind, foreign []Foreign, priorities map[schema.GroupVersion]Priority) []group {
	var groups []group
	for _, k := range kinds {
		for i := range k.Versions {
			v := &k.Versions[i]
			if v.Unserved {
				continue
			}
			g := findOrAdd(&groups, func(g *group) bool { return g.name == v.Group }, group{name: v.Group})
			gv := findOrAdd(&g.versions, func(gv *groupVersion) bool { return gv.name == v.Version }, groupVersion{name: v.Version})
			gv.kinds = append(gv.kinds, servedKind{k, v})
		}
	}
	for i := range foreign {
		f := &foreign[i]
		g := findOrAdd(&groups, func(g *group) bool { return g.name == f.GroupVersion.Group }, group{name: f.GroupVersion.Group})
		gv := findOrAdd(&g.versions, func(gv *groupVersion) bool { return gv.name == f.GroupVersion.Version }, groupVersion{name: f.GroupVersion.Version})
		gv.foreign = f
	}
	sort.SliceStable(groups, func(i, j int) bool { return groups[i].name == "" && groups[j].name != "" })
	if priorities != nil {
		slices.SortStableFunc(groups, func(a, b group) int {
			return cmp.Or(cmp.Compare(b.priority(priorities), a.priority(priorities)), cmp.Compare(a.name, b.name))
		})
	}
	for _, g := range groups {
		sort.SliceStable(g.versions, func(i, j int) bool {
			a, b := priority(g.versions[i].foreign), priority(g.versions[j].foreign)
			if priorities != nil {
				a, b = priorityOf(priorities, g.name, g.versions[i].name).Version, priorityOf(priorities, g.name, g.versions[j].name).Version
			}
			if a != b {
				return a > b
			}
			return version.CompareKubeAwareVersionStrings(g.versions[i].name, g.versions[j].name) > 0
		})
		for _, gv := range g.versions {
			sort.SliceStable(gv.kinds, func(i, j int) bool { return gv.kinds[i].Plural < gv.kinds[j].Plural })
		}
	}
	return groups
}

// priority of a group is the highest of its versions'.
func (g *group) priority(p map[schema.GroupVersion]Priority) (highest int32) {
	for _, v := range g.versions {
		highest = max(highest, priorityOf(p, g.name, v.name).Group)
	}
	return highest
}

// priorityOf a group version. One without stands where a custom kind's does, whose APIService comes a moment after it;
// the aggregator's own group, which has none, stands where upstream shows it.
func priorityOf(p map[schema.GroupVersion]Priority, group, version string) Priority {
	if have, ok := p[schema.GroupVersion{Group: group, Version: version}]; ok {
		return have
	}
	if group == "apiregistration.k8s.io" {
		return Priority{Group: 17999, Version: 15}
	}
	return Priority{Group: 1000, Version: 100}
}

func priority(f *Foreign) int32 {
	if f == nil {
		return 0
	}
	return f.VersionPriority
}

// subresources of a version: by name, and of a custom kind status first, as clients know it.
func (k servedKind) subresources() []api.Subresource {
	if k.version.Custom != nil {
		return k.SubresourcesOf(k.version)
	}
	all := slices.Clone(k.SubresourcesOf(k.version))
	slices.SortFunc(all, func(a, b api.Subresource) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// storageHash tells clients that two resources are stored as one: it is of the group, version and kind of what is stored.
func storageHash(k *api.Kind) string {
	if k.Prefix == "" {
		return "" // not stored
	}
	gvk := k.GVK()
	sum := sha256.Sum256([]byte(gvk.Group + "/" + gvk.Version + "/" + gvk.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

func findOrAdd[T any](list *[]T, is func(*T) bool, fresh T) *T {
	if i := slices.IndexFunc(*list, func(t T) bool { return is(&t) }); i >= 0 {
		return &(*list)[i]
	}
	*list = append(*list, fresh)
	return &(*list)[len(*list)-1]
}

func (g *group) apiGroup() metav1.APIGroup {
	out := metav1.APIGroup{Name: g.name}
	for _, v := range g.versions {
		gv := schema.GroupVersion{Group: g.name, Version: v.name}
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: v.name})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func (v *groupVersion) apiResourceList(group string) *metav1.APIResourceList {
	gv := schema.GroupVersion{Group: group, Version: v.name}
	out := &metav1.APIResourceList{GroupVersion: gv.String(), APIResources: []metav1.APIResource{}}
	for _, k := range v.kinds {
		out.APIResources = append(out.APIResources, metav1.APIResource{
			Name: k.Plural, SingularName: singular(k.Kind), Namespaced: k.Namespaced, Kind: k.Kind.Kind,
			Verbs: verbs(k.Kind), ShortNames: k.ShortNames, Categories: k.Categories, StorageVersionHash: storageHash(k.Kind),
		})
		subresources := k.subresources()
		for i := range subresources {
			s := &subresources[i]
			gvk := subGVK(k, s, gv)
			r := metav1.APIResource{Name: k.Plural + "/" + s.Name, Namespaced: k.Namespaced, Kind: gvk.Kind, Verbs: subVerbs(s)}
			if gvk.GroupVersion() != gv {
				r.Group, r.Version = gvk.Group, gvk.Version
			}
			out.APIResources = append(out.APIResources, r)
		}
	}
	return out
}

func singular(k *api.Kind) string {
	if k.Singular != "" {
		return k.Singular
	}
	return strings.ToLower(k.Kind)
}

func verbs(k *api.Kind) []string {
	if k.Verbs == nil {
		return allVerbs
	}
	out := slices.Clone(k.Verbs)
	slices.Sort(out)
	return out
}

// subVerbs leaves out "connect", which is not a verb of the API but says who serves it.
func subVerbs(s *api.Subresource) []string {
	out := make([]string, 0, len(s.Verbs))
	for _, v := range s.Verbs {
		if v != "connect" {
			out = append(out, v)
		}
	}
	slices.Sort(out)
	return out
}

func subGVK(k servedKind, s *api.Subresource, gv schema.GroupVersion) schema.GroupVersionKind {
	if s.GVK.Kind != "" {
		return s.GVK
	}
	return gv.WithKind(k.Kind.Kind)
}

// aggregatedList is the one document of the core group, or that of all others.
func aggregatedList(groups []group, core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	out := &apidiscoveryv2.APIGroupDiscoveryList{Items: []apidiscoveryv2.APIGroupDiscovery{}}
	for _, g := range groups {
		if (g.name == "") != core {
			continue
		}
		doc := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for _, v := range g.versions {
			doc.Versions = append(doc.Versions, v.aggregated(g.name))
		}
		out.Items = append(out.Items, doc)
	}
	return out
}

func (v *groupVersion) aggregated(group string) apidiscoveryv2.APIVersionDiscovery {
	gv := schema.GroupVersion{Group: group, Version: v.name}
	out := apidiscoveryv2.APIVersionDiscovery{Version: v.name, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
	if v.foreign != nil {
		out.Resources = v.foreign.Resources
		if v.foreign.Stale {
			out.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
		}
		return out
	}
	for _, k := range v.kinds {
		r := apidiscoveryv2.APIResourceDiscovery{
			Resource: k.Plural, ResponseKind: responseKind(gv.WithKind(k.Kind.Kind), gv), Scope: apidiscoveryv2.ScopeCluster,
			SingularResource: singular(k.Kind), Verbs: verbs(k.Kind), ShortNames: k.ShortNames, Categories: k.Categories,
		}
		if k.Namespaced {
			r.Scope = apidiscoveryv2.ScopeNamespace
		}
		subresources := k.subresources()
		for i := range subresources {
			s := &subresources[i]
			r.Subresources = append(r.Subresources, apidiscoveryv2.APISubresourceDiscovery{
				Subresource: s.Name, ResponseKind: responseKind(subGVK(k, s, gv), gv), Verbs: subVerbs(s),
			})
		}
		out.Resources = append(out.Resources, r)
	}
	return out
}

// responseKind names group and version only where they differ from the document's, as upstream writes it.
func responseKind(gvk schema.GroupVersionKind, gv schema.GroupVersion) *metav1.GroupVersionKind {
	out := &metav1.GroupVersionKind{Kind: gvk.Kind}
	if gvk.GroupVersion() != gv {
		out.Group, out.Version = gvk.Group, gvk.Version
	}
	return out
}
