package registry

import (
	"strings"

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

// manageNew records in a new object who set its fields.
func (r *Registry) manageNew(req Request, obj api.Object) error {
	m, err := managedfields.For(req.Kind, req.version(), req.Subresource)
	if err != nil {
		return err
	}
	return m.Created(obj, req.Manager(), r.Now())
}

// manageUpdate records who changed which fields. same: obj has nothing that old has not, so there is nothing to write.
func (r *Registry) manageUpdate(req Request, obj, old api.Object) (same bool, err error) {
	m, err := managedfields.For(req.Kind, req.version(), req.Subresource)
	if err != nil {
		return false, err
	}
	return m.Updated(old, obj, req.Manager(), r.Now())
}
