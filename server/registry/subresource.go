package registry

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
)

// subresource finds what the request names: nil for the object itself.
func subresource(req Request) (*api.Subresource, error) {
	if req.Subresource == "" {
		return nil, nil
	}
	if sub := req.Kind.SubresourceOf(req.Version, req.Subresource); sub != nil {
		return sub, nil
	}
	return nil, notFound(req.Kind, req.Name+"/"+req.Subresource)
}

// project shows a stored object as the subresource's type.
func project(sub *api.Subresource, obj api.Object) (runtime.Object, error) {
	if sub == nil || sub.Project == nil {
		return obj, nil
	}
	out, err := sub.Project(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("show %s of %q: %w", sub.Name, obj.GetName(), err))
	}
	return out, nil
}
