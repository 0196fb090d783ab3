package registry

import (
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry/managedfields"
)

// Warm loads what managedFields need (150 ms once), so that the first write need not: call it in a goroutine while the
// store starts.
func Warm() { managedfields.Warm() }

// Manager is the name under which the request's fields are managed: what it says, else the user agent up to its slash.
func (req *Request) Manager() string {
	if req.FieldManager != "" {
		return req.FieldManager
	}
	name, _, _ := strings.Cut(req.UserAgent, "/")
	if name == "" {
		return "unknown"
	}
	return name
}

// manageNew records in a new object who set its fields. That happens before admission: what that adds is nobody's, so that
// an apply which does not know of it leaves it alone. An object whose fields cannot be told apart is written without.
func (r *Registry) manageNew(req Request, obj api.Object) {
	m, err := managedfields.For(req.Kind, req.version(), req.Subresource)
	if err == nil {
		err = m.Created(obj, req.Manager(), r.Now())
	}
	if err != nil {
		obj.SetManagedFields(nil)
	}
}

// manageUpdate records, before admission, who changed which fields. same: obj has nothing that old has not.
func (r *Registry) manageUpdate(req Request, obj, old api.Object) (same bool) {
	m, err := managedfields.For(req.Kind, req.version(), req.Subresource)
	if err == nil {
		same, err = m.Updated(old, obj, req.Manager(), r.Now())
	}
	if err != nil {
		obj.SetManagedFields(nil)
	}
	return same
}

// same says that obj has nothing that old has not, now that admission and the kind itself have changed it, so that there is
// nothing to write. was: that it had nothing before.
func (r *Registry) same(req Request, obj, old api.Object, was bool) bool {
	have, fields := old.GetManagedFields(), obj.GetManagedFields()
	if !managedfields.EqualButTimes(have, fields) {
		return false
	}
	obj.SetManagedFields(have)
	if apiequality.Semantic.DeepEqual(obj, old) {
		return true
	}
	if was {
		// Times may differ in what is not stored of them.
		if m, err := managedfields.For(req.Kind, req.version(), req.Subresource); err == nil {
			was, err = m.Same(old, obj)
			was = was && err == nil
		}
	}
	obj.SetManagedFields(fields)
	return was
}
