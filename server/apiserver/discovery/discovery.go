// Package discovery makes the documents that tell clients which groups, versions and resources there are, in the legacy
// form (one document a group version) and the aggregated one (one for all). They are made on the first request and
// again when the catalogue has changed. It starts no goroutine.
package discovery

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// Document is a body with its type.
type Document struct {
	Body      []byte
	MediaType string
	// ETag, quoted; "" for documents that have none.
	ETag string
	// Gzip says that Body is compressed.
	Gzip bool
}

// Documents of a catalogue.
type Documents struct {
	catalogue *api.Catalogue

	mu      sync.Mutex
	kinds   []*api.Kind // the catalogue the cache was made of
	cache   map[string]Document
	foreign []Foreign
	// priorities by group and version; nil keeps the order of the catalogue.
	priorities map[schema.GroupVersion]Priority
}

// Priority is where a group stands among the others, and a version within its group: higher comes first. It is what
// APIServices say (groupPriorityMinimum, versionPriority).
type Priority struct{ Group, Version int32 }

// SetPriorities replaces all priorities.
func (d *Documents) SetPriorities(p map[schema.GroupVersion]Priority) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.priorities, d.cache = p, nil
}

// Foreign is a group version that another server serves (an APIService's). Its own document is that server's to answer.
type Foreign struct {
	GroupVersion schema.GroupVersion
	// Resources as the aggregated document shows them.
	Resources []apidiscoveryv2.APIResourceDiscovery
	// Stale: the server did not answer the last time.
	Stale bool
	// VersionPriority: the highest is preferred within the group; ours have 0.
	VersionPriority int32
}

// SetForeign replaces all group versions of other servers. The order is that of the groups.
func (d *Documents) SetForeign(list []Foreign) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.foreign, d.cache = list, nil
}

// New makes nothing yet.
func New(c *api.Catalogue) *Documents { return &Documents{catalogue: c} }

const aggregatedType = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// Get returns the document at a path without trailing slash, in the form that the request asks for.
func (d *Documents) Get(path string, r *http.Request) (Document, bool, error) {
	format, aggregated := choose(r, path == "/api" || path == "/apis")
	key := fmt.Sprintf("%s %d %v", path, format, aggregated)
	d.mu.Lock()
	defer d.mu.Unlock()
	if kinds := d.catalogue.Published(); d.cache == nil || !slices.Equal(kinds, d.kinds) {
		d.kinds, d.cache = kinds, map[string]Document{}
	}
	if doc, ok := d.cache[key]; ok {
		return doc, true, nil
	}
	gvk, obj := d.build(path, aggregated)
	if obj == nil {
		return Document{}, false, nil
	}
	body, err := codec.Append(nil, format, gvk, obj)
	if err != nil {
		return Document{}, false, err
	}
	doc := Document{Body: body, MediaType: format.MediaType()}
	if aggregated {
		doc.MediaType += aggregatedType
		doc.ETag = fmt.Sprintf("%q", fmt.Sprintf("%X", sha256.Sum256(body)))
	}
	d.cache[key] = doc
	return doc, true, nil
}

// choose reads the Accept header.
func choose(r *http.Request, root bool) (f codec.Format, aggregated bool) {
	for _, c := range negotiate.Accept(r) {
		for i, mediaType := range codec.Accepted {
			if !c.Is(mediaType) {
				continue
			}
			as := c.Params["as"]
			if as == "" {
				return codec.Format(i), false
			}
			if root && as == "APIGroupDiscoveryList" && c.Params["v"] == "v2" && c.Params["g"] == "apidiscovery.k8s.io" {
				return codec.Format(i), true
			}
			break
		}
	}
	return codec.JSON, false
}

func (d *Documents) build(path string, aggregated bool) (schema.GroupVersionKind, runtime.Object) {
	v1 := schema.GroupVersion{Version: "v1"}
	groups := groupsOf(d.kinds, d.foreign, d.priorities)
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case aggregated:
		return apidiscoveryv2.SchemeGroupVersion.WithKind("APIGroupDiscoveryList"), aggregatedList(groups, path == "/api")
	case path == "/api":
		return v1.WithKind("APIVersions"), &metav1.APIVersions{Versions: []string{"v1"}, ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{}}
	case path == "/apis":
		list := &metav1.APIGroupList{Groups: []metav1.APIGroup{}}
		for _, g := range groups {
			if g.name != "" {
				list.Groups = append(list.Groups, g.apiGroup())
			}
		}
		return v1.WithKind("APIGroupList"), list
	case parts[0] == "api" && len(parts) == 2:
		return d.resources(groups, "", parts[1])
	case parts[0] == "apis" && len(parts) == 3:
		return d.resources(groups, parts[1], parts[2])
	case parts[0] == "apis" && len(parts) == 2:
		for _, g := range groups {
			if g.name == parts[1] && g.name != "" {
				doc := g.apiGroup()
				return v1.WithKind("APIGroup"), &doc
			}
		}
	}
	return schema.GroupVersionKind{}, nil
}

func (d *Documents) resources(groups []group, name, version string) (schema.GroupVersionKind, runtime.Object) {
	for _, g := range groups {
		for _, v := range g.versions {
			if g.name == name && v.name == version && v.foreign == nil {
				return schema.GroupVersionKind{Version: "v1", Kind: "APIResourceList"}, v.apiResourceList(g.name)
			}
		}
	}
	return schema.GroupVersionKind{}, nil
}
