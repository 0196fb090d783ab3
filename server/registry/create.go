package registry

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/internal/fields"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Create stores a new object, or runs the Action of a create-only subresource or unstored kind.
func (r *Registry) Create(ctx context.Context, req Request, obj runtime.Object) (runtime.Object, error) {
	if out, found, err := r.act(ctx, req, obj); found {
		return out, err
	}
	sent, ok := obj.(api.Object)
	if req.Subresource != "" || req.Kind.Virtual || !ok {
		return nil, methodNotSupported(req, "create")
	}
	out, err := r.create(ctx, req, sent, false)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// create stores a copy of sent, and tries other names while a generated one is taken. applied is set when sent has its
// managedFields already.
func (r *Registry) create(ctx context.Context, req Request, sent api.Object, applied bool) (api.Object, error) {
	generated := sent.GetName() == "" && sent.GetGenerateName() != "" && req.Name == ""
	for attempt := 1; ; attempt++ {
		obj := sent.DeepCopyObject().(api.Object)
		if generated {
			obj.SetName(generateName(obj.GetGenerateName()))
		}
		out, err := r.createOnce(ctx, req, obj, applied)
		if !generated || !errors.Is(err, store.ErrExists) {
			return out, statusError(req.Kind, "create", obj.GetName(), err)
		}
		if attempt == generateAttempts {
			return nil, apierrors.NewGenerateNameConflict(req.Kind.GroupResource(), obj.GetName(), 1)
		}
	}
}

// createOnce is the way of a new object: its metadata, defaults, admission, validation, storage. obj becomes the store's.
func (r *Registry) createOnce(ctx context.Context, req Request, obj api.Object, applied bool) (_ api.Object, err error) {
	if err := ensureNamespace(req, obj); err != nil {
		return nil, err
	}
	if err := ensureName(req, obj); err != nil {
		return nil, err
	}
	req.Name = obj.GetName()
	r.stampNew(obj)
	a := &Attributes{Request: req, Verb: VerbCreate, Object: obj, Options: &metav1.CreateOptions{FieldManager: req.FieldManager, DryRun: req.dryRun()}}
	stored := false
	defer func() { a.finish(stored) }()
	if err := r.prepareNew(ctx, a, obj, applied); err != nil {
		return nil, err
	}
	if req.DryRun {
		if r.store.Snapshot().Get(req.Kind, obj.GetNamespace(), obj.GetName()) != nil {
			return nil, store.ErrExists
		}
		return obj, nil
	}
	// A dry run stores nothing, so it takes a version as upstream's does: clients send what another call has answered. What admission and validation say
	// comes first.
	if obj.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if obj, err = req.Kind.ConvertTo(obj, req.Kind.Hub()); err != nil {
		return nil, err
	}
	out, err := r.store.Create(ctx, req.Kind, obj)
	if stored = err == nil; !stored {
		return nil, err
	}
	return req.spoken(out)
}

// prepareNew takes obj from what was sent to what is stored.
func (r *Registry) prepareNew(ctx context.Context, a *Attributes, obj api.Object, applied bool) error {
	k := a.Kind.StrategyOf(a.Version)
	if k.Default != nil {
		k.Default(obj)
	}
	if !applied {
		r.manageNew(a.Request, obj)
	}
	if err := r.admit(ctx, a); err != nil {
		return err
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	for _, text := range fields.Drop(obj, nil) {
		a.Warnf("%s", text)
	}
	errs := validateNewMeta(a.Kind, obj)
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	if err := invalid(a.Kind, obj.GetName(), errs); err != nil {
		return err
	}
	if err := r.validate(ctx, a); err != nil {
		return err
	}
	if k.Warnings != nil {
		for _, text := range k.Warnings(obj, nil) {
			a.Warnf("%s", text)
		}
	}
	for _, text := range fields.Warnings(a.Kind.Group, a.Kind.Kind, obj) {
		a.Warnf("%s", text)
	}
	return nil
}
