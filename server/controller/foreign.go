package controller

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
)

// Foreign is the way to the objects that other API servers keep, whose group versions APIServices add to ours. They are not
// in the store: nothing wakes a loop when they change, and every question goes over the network.
type Foreign interface {
	// Resources are those of the servers that answer, each in its preferred version. failed are the group versions of the others.
	Resources() (served []ForeignResource, failed []schema.GroupVersion)
	// Metadata is a client with the rights of a controller's service account.
	Metadata(account string) (metadata.Interface, error)
}

// ForeignResource is a resource that another API server serves.
type ForeignResource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Verbs      []string
}

// Can tells whether all verbs are served.
func (r *ForeignResource) Can(verbs ...string) bool {
	for _, v := range verbs {
		if !slices.Contains(r.Verbs, v) {
			return false
		}
	}
	return true
}
