package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/internal/fields"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Update serves PUT, every kind of PATCH and server-side apply; created tells 201 from 200.
func (r *Registry) Update(ctx context.Context, req Request, t Transform, opts UpdateOptions) (obj runtime.Object, created bool, err error) {
	sub, err := subresource(req)
	if err != nil {
		return nil, false, err
	}
	for attempt := 0; ; attempt++ {
		u := update{r: r, req: req, sub: sub, transform: t, opts: opts}
		out, created, err := u.once(ctx)
		if err == nil {
			shown, err := project(sub, out)
			return shown, created, err
		}
		if !u.raced(err) {
			return nil, false, statusError(req.Kind, "update", req.Name, err)
		}
		// The winner's write may not be in the cache yet.
		if err := pause(ctx, attempt); err != nil {
			return nil, false, statusError(req.Kind, "update", req.Name, err)
		}
	}
}

// update is one attempt at one update.
type update struct {
	r         *Registry
	req       Request
	sub       *api.Subresource
	transform Transform
	opts      UpdateOptions
	// unconditional: what was sent names no resourceVersion, so that losing a race is no conflict.
	unconditional bool
	// stale: the object is stored in another version than the hub, so that writing it as it is changes it.
	stale bool
}

// raced says that the attempt failed only because another writer was faster, and may be made again.
func (u *update) raced(err error) bool {
	if errors.Is(err, store.ErrConflict) {
		return u.opts.Retry || u.unconditional
	}
	return u.opts.CreateIfMissing && u.opts.Retry && (errors.Is(err, store.ErrExists) || apierrors.IsAlreadyExists(err))
}

// pause waits a little longer after each lost race: not at all after the first, 20 ms at most.
func pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(min(time.Duration(attempt)*time.Millisecond, 20*time.Millisecond))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (u *update) once(ctx context.Context) (out api.Object, created bool, err error) {
	stored := u.r.store.Snapshot().Get(u.req.Kind, u.req.Namespace, u.req.Name)
	if stored == nil {
		if !u.opts.CreateIfMissing || u.sub != nil {
			return nil, false, notFound(u.req.Kind, u.req.Name)
		}
		out, err = u.create(ctx)
		return out, true, err
	}
	if err := checkPreconditions(u.req.Kind, u.opts.Preconditions, stored); err != nil {
		return nil, false, err
	}
	old, err := u.req.spoken(stored)
	if err != nil {
		return nil, false, err
	}
	u.stale = !ofHub(u.req.Kind, stored)
	obj, err := u.next(old)
	if err != nil {
		return nil, false, err
	}
	out, err = u.store(ctx, obj, old)
	return out, false, err
}

func (u *update) create(ctx context.Context) (api.Object, error) {
	body, err := u.transform(nil)
	if err != nil {
		return nil, err
	}
	obj, ok := body.(api.Object)
	if !ok {
		return nil, fmt.Errorf("expected an object, got a %T", body)
	}
	if uid := obj.GetUID(); uid != "" {
		return nil, conflict(u.req.Kind, u.req.Name, "uid mismatch: the provided object specified uid %s, and no existing object was found", uid)
	}
	return u.r.create(ctx, u.req, obj, u.opts.Apply)
}

// next calls the Transform and brings its result, which may be a subresource's type, to the whole next object.
func (u *update) next(old api.Object) (api.Object, error) {
	current := runtime.Object(old)
	if !u.opts.Apply {
		var err error
		if current, err = project(u.sub, old); err != nil {
			return nil, err
		}
	}
	sent, err := u.transform(current)
	if err != nil {
		return nil, err
	}
	if meta, ok := sent.(metav1.Object); ok && !u.opts.Internal {
		if err := u.checkSent(meta, old); err != nil {
			return nil, err
		}
	}
	if u.sub == nil || u.opts.Internal {
		obj, ok := sent.DeepCopyObject().(api.Object)
		if !ok {
			return nil, fmt.Errorf("expected an object, got a %T", sent)
		}
		return obj, nil
	}
	return u.inject(old, sent)
}

// inject lets the subresource take from what was sent what it may.
func (u *update) inject(old api.Object, sent runtime.Object) (api.Object, error) {
	if u.sub.Inject == nil {
		return nil, methodNotSupported(u.req, "update")
	}
	applied, _ := sent.(api.Object)
	if u.opts.Apply && u.sub.Project != nil {
		var err error
		if sent, err = project(u.sub, applied); err != nil {
			return nil, err
		}
	}
	obj, err := u.sub.Inject(old, sent)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if u.opts.Apply {
		obj.SetManagedFields(applied.GetManagedFields())
	} else {
		obj.SetManagedFields(old.GetManagedFields())
	}
	return obj, nil
}

// checkSent compares the identity in what was sent with the stored object's.
func (u *update) checkSent(sent metav1.Object, old api.Object) error {
	k := u.req.Kind
	if sent.GetName() != "" && sent.GetName() != u.req.Name {
		return apierrors.NewBadRequest("the name of the object (" + sent.GetName() + ") does not match the name on the URL (" + u.req.Name + ")")
	}
	if sent.GetUID() != "" && sent.GetUID() != old.GetUID() {
		return conflict(k, u.req.Name, "Precondition failed: UID in precondition: %v, UID in object meta: %v", sent.GetUID(), old.GetUID())
	}
	switch rv := sent.GetResourceVersion(); {
	case rv == "" && (u.sub == nil || u.sub.Project == nil) && !k.AllowUnconditionalUpdate && !u.opts.Apply:
		return apierrors.NewInvalid(schema.GroupKind{Group: k.Group, Kind: k.Kind}, u.req.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"),
		})
	case rv == "" || rv == "0":
		u.unconditional = true
	case rv != old.GetResourceVersion():
		return modified(k, u.req.Name)
	}
	return nil
}

func checkPreconditions(k *api.Kind, p *metav1.Preconditions, old api.Object) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != "" && *p.UID != old.GetUID() {
		return conflict(k, old.GetName(), "Precondition failed: UID in precondition: %v, UID in object meta: %v", *p.UID, old.GetUID())
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != "" && *p.ResourceVersion != old.GetResourceVersion() {
		return modified(k, old.GetName())
	}
	return nil
}

// store takes the next object through prepare, admission and validation, and replaces old by it.
func (u *update) store(ctx context.Context, obj, old api.Object) (api.Object, error) {
	clearType(obj)
	obj.SetResourceVersion(old.GetResourceVersion())
	a := &Attributes{Request: u.req, Verb: VerbUpdate, Object: obj, Old: old, Options: u.options()}
	stored := false
	defer func() { a.finish(stored) }()
	same := false
	if !u.opts.Internal {
		var err error
		if same, err = u.prepare(ctx, a, obj, old); err != nil {
			return nil, err
		}
	}
	if deletesOnUpdate(obj, old) {
		return u.remove(ctx, obj, old)
	}
	if same && !u.stale {
		return old, nil
	}
	if u.req.DryRun {
		return obj, nil
	}
	hub, err := u.req.Kind.ConvertTo(obj, u.req.Kind.Hub())
	if err != nil {
		return nil, err
	}
	if u.req.Subresource == "status" || u.opts.Internal {
		ctx = store.WithReserve(ctx)
	}
	out, err := u.r.store.Update(ctx, u.req.Kind, hub, revisionOf(old))
	if stored = err == nil; !stored {
		return nil, err
	}
	return u.req.spoken(out)
}

// options as admission sees them: patches call their Transform again after a conflict, PUT does not.
func (u *update) options() runtime.Object {
	if u.opts.Apply || u.opts.Retry {
		return &metav1.PatchOptions{FieldManager: u.req.FieldManager, DryRun: u.req.dryRun()}
	}
	return &metav1.UpdateOptions{FieldManager: u.req.FieldManager, DryRun: u.req.dryRun()}
}

func (u *update) prepare(ctx context.Context, a *Attributes, obj, old api.Object) (same bool, err error) {
	k := u.req.Kind.StrategyOf(u.req.Version)
	if err := ensureNamespace(u.req, obj); err != nil {
		return false, err
	}
	if err := ensureName(u.req, obj); err != nil {
		return false, err
	}
	carryMeta(obj, old)
	if u.sub == nil && k.Default != nil {
		k.Default(obj)
	}
	if !u.opts.Apply {
		same = u.r.manageUpdate(u.req, obj, old)
	}
	if err := u.r.admit(ctx, a); err != nil {
		return false, err
	}
	if u.sub == nil {
		obj.SetGeneration(old.GetGeneration())
		if k.PrepareUpdate != nil {
			k.PrepareUpdate(obj, old)
		}
	}
	for _, text := range fields.Drop(obj, old) {
		a.Warnf("%s", text)
	}
	if err := invalid(u.req.Kind, obj.GetName(), u.check(obj, old)); err != nil {
		return false, err
	}
	if err := u.r.validate(ctx, a); err != nil {
		return false, err
	}
	if k.Warnings != nil && u.sub == nil {
		for _, text := range k.Warnings(obj, old) {
			a.Warnf("%s", text)
		}
	}
	return !u.opts.Apply && u.r.same(u.req, obj, old, same), nil
}

func (u *update) check(obj, old api.Object) field.ErrorList {
	errs := validateMetaUpdate(obj, old)
	k := u.req.Kind.StrategyOf(u.req.Version)
	switch {
	case u.sub != nil && u.sub.Validate != nil:
		errs = append(errs, u.sub.Validate(obj, old)...)
	case u.sub == nil && k.ValidateUpdate != nil:
		errs = append(errs, k.ValidateUpdate(obj, old)...)
	}
	return errs
}

// carryMeta fills in what a client may leave out of an update because it cannot change it.
func carryMeta(obj, old api.Object) {
	obj.SetSelfLink("")
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if created := obj.GetCreationTimestamp(); created.IsZero() {
		obj.SetCreationTimestamp(old.GetCreationTimestamp())
	}
	if obj.GetDeletionTimestamp() == nil {
		obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	}
	if obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	}
}

// deletesOnUpdate says that this update takes away the last thing that held an object whose deletion had begun.
func deletesOnUpdate(obj, old api.Object) bool {
	grace := old.GetDeletionGracePeriodSeconds()
	return old.GetDeletionTimestamp() != nil && (grace == nil || *grace == 0) &&
		len(obj.GetFinalizers()) == 0 && !held(obj)
}

func (u *update) remove(ctx context.Context, obj, old api.Object) (api.Object, error) {
	if u.req.DryRun {
		return obj, nil
	}
	gone, err := u.r.store.Delete(ctx, u.req.Kind, old.GetNamespace(), old.GetName(), revisionOf(old))
	if err != nil {
		return nil, err
	}
	// The caller sees what it wrote, at the revision of the deletion.
	obj.SetResourceVersion(gone.GetResourceVersion())
	return obj, nil
}
