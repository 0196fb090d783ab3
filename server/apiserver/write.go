package apiserver

import (
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/registry"
)

func (q *request) create() error {
	opts, err := q.createOptions()
	if err != nil {
		return err
	}
	obj, err := q.decodeBody(opts.validation)
	if err != nil {
		return err
	}
	if err := q.checkMeta(obj, q.sub != nil); err != nil {
		return err
	}
	if obj, err = q.hub(obj); err != nil {
		return err
	}
	req := q.registryRequest(opts.dryRun, opts.manager)
	if meta, ok := obj.(metav1.Object); ok && req.Name == "" {
		req.Name = meta.GetName()
	}
	out, err := q.cfg.Registry.Create(q.r.Context(), req, obj)
	if err != nil {
		return err
	}
	if out, err = q.served(out); err != nil {
		return err
	}
	code := http.StatusCreated
	if status, ok := out.(*metav1.Status); ok && status.Code == 0 {
		status.Code = http.StatusCreated
	}
	return q.respond(code, q.bodyGVK(), out)
}

func (q *request) update() error {
	opts, err := q.updateOptions()
	if err != nil {
		return err
	}
	obj, err := q.decodeBody(opts.validation)
	if err != nil {
		return err
	}
	if err := q.checkMeta(obj, true); err != nil {
		return err
	}
	if obj, err = q.hub(obj); err != nil {
		return err
	}
	// The registry compares uid and resourceVersion of what was sent with what is stored.
	update := registry.UpdateOptions{CreateIfMissing: q.kind.AllowCreateOnUpdate && q.sub == nil}
	out, created, err := q.cfg.Registry.Update(q.r.Context(), q.registryRequest(opts.dryRun, opts.manager),
		func(runtime.Object) (runtime.Object, error) { return obj, nil }, update)
	if err != nil {
		return err
	}
	return q.respondWritten(out, created)
}

// respondWritten answers an update or a patch.
func (q *request) respondWritten(out runtime.Object, created bool) error {
	out, err := q.served(out)
	if err != nil {
		return err
	}
	code := http.StatusOK
	if created {
		code = http.StatusCreated
	}
	return q.respond(code, q.bodyGVK(), out)
}

func (q *request) delete() error {
	opts, err := q.deleteOptions()
	if err != nil {
		return err
	}
	obj, done, err := q.cfg.Registry.Delete(q.r.Context(), q.registryRequest(opts.DryRun, ""), opts)
	if err != nil {
		return err
	}
	code := http.StatusOK
	if !done && (opts.OrphanDependents != nil || opts.PropagationPolicy != nil) {
		code = http.StatusAccepted
	}
	if obj != nil && (!done || registry.ReturnsDeleted(q.kind)) {
		if obj, err = q.served(obj); err != nil {
			return err
		}
		return q.respond(code, q.gvk(), obj)
	}
	status := &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: q.path.name, Group: q.version.Group, Kind: q.kind.Plural,
	}}
	if meta, ok := obj.(metav1.Object); ok {
		status.Details.UID = meta.GetUID()
	}
	q.writeStatus(q.w, q.r, q.format(), status)
	return nil
}

func (q *request) deleteCollection() error {
	list, err := q.listOptions()
	if err != nil {
		return err
	}
	opts, err := q.deleteOptions()
	if err != nil {
		return err
	}
	deleted, err := q.cfg.Registry.DeleteCollection(q.r.Context(), q.registryRequest(opts.DryRun, ""), list, opts)
	if err != nil {
		return err
	}
	return q.respondList(deleted)
}

// deleteQuery reads DeleteOptions from the query.
func (q *request) deleteQuery(opts *metav1.DeleteOptions) error {
	if text, given := q.get("gracePeriodSeconds"); given {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return badQuery("gracePeriodSeconds", text)
		}
		opts.GracePeriodSeconds = &seconds
	}
	if text, given := q.get("propagationPolicy"); given {
		policy := metav1.DeletionPropagation(text)
		opts.PropagationPolicy = &policy
	}
	if text, given := q.get("orphanDependents"); given {
		orphan, _ := parseBool(text)
		opts.OrphanDependents = &orphan
	}
	opts.DryRun = q.query["dryRun"]
	return nil
}

func validDelete(opts *metav1.DeleteOptions) error {
	return invalidOptions("DeleteOptions", validation.ValidateDeleteOptions(opts))
}
