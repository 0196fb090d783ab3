package registry

import (
	"codeberg.org/skiff/skiff/server/api"
)

// Objects of custom kinds are in the store in the version in which they were written, and a request works on objects of
// the version that it speaks; see api.Kind.Convert. What follows does nothing to other kinds, whose objects are held,
// and worked on, in the hub version.

// version is the one the request speaks.
func (req *Request) version() *api.Version {
	if req.Version != nil {
		return req.Version
	}
	return req.Kind.Hub()
}

// spoken is a stored object in the version that the request speaks.
func (req *Request) spoken(obj api.Object) (api.Object, error) {
	return req.Kind.ConvertTo(obj, req.version())
}

// spokenIfPossible is for deletions, which must not need a webhook that may be gone: then the object stays as it is.
func (req *Request) spokenIfPossible(obj api.Object) api.Object {
	if out, err := req.spoken(obj); err == nil {
		return out
	}
	return obj
}

// allSpoken converts a page at once, for a webhook takes many objects in one call.
func (req *Request) allSpoken(objs []api.Object) ([]api.Object, error) {
	if req.Kind.Convert == nil || len(objs) == 0 {
		return objs, nil
	}
	return req.Kind.Convert(objs, req.version())
}

// ofHub says whether a stored object is of the version in which the kind is stored now.
func ofHub(k *api.Kind, obj api.Object) bool {
	return k.Convert == nil || obj.GetObjectKind().GroupVersionKind() == k.GVK()
}
