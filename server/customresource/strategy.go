package customresource

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/api"
)

// strategy is what happens to an object that comes in through this version. The funcs take unstructured objects of it.
func (v *version) strategy() api.Strategy {
	return api.Strategy{
		Default:        func(obj api.Object) { v.applyDefaults(obj.(*unstructured.Unstructured)) },
		PrepareCreate:  v.prepareCreate,
		PrepareUpdate:  v.prepareUpdate,
		Validate:       func(obj api.Object) field.ErrorList { return v.validateNew(obj.(*unstructured.Unstructured)) },
		ValidateUpdate: func(obj, old api.Object) field.ErrorList { return v.validateUpdate(both(obj, old)) },
		Warnings:       warnings,
	}
}

func both(obj, old api.Object) (*unstructured.Unstructured, *unstructured.Unstructured) {
	return obj.(*unstructured.Unstructured), old.(*unstructured.Unstructured)
}

func (v *version) hasStatus() bool {
	return v.spec.Subresources != nil && v.spec.Subresources.Status != nil
}

func (v *version) prepareCreate(obj api.Object) {
	if v.hasStatus() {
		delete(obj.(*unstructured.Unstructured).Object, "status")
	}
	obj.SetGeneration(1)
}

func (v *version) prepareUpdate(obj, old api.Object) {
	to, from := both(obj, old)
	if v.hasStatus() {
		if status, ok := from.Object["status"]; ok {
			to.Object["status"] = status
		} else {
			delete(to.Object, "status")
		}
	}
	bump(to, from)
}

// bump counts a change of anything but metadata.
func bump(obj, old *unstructured.Unstructured) {
	if !sameContent(obj.Object, old.Object) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

func sameContent(a, b map[string]any) bool {
	for name, value := range a {
		if name == "metadata" {
			continue
		}
		other, ok := b[name]
		if !ok || !apiequality.Semantic.DeepEqual(value, other) {
			return false
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok && name != "metadata" {
			return false
		}
	}
	return true
}

// warnings are for finalizers whose names may clash with others'.
func warnings(obj, old api.Object) (out []string) {
	var known []string
	if old != nil {
		known = old.GetFinalizers()
	}
	added := slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool { return slices.Contains(known, f) })
	slices.Sort(added)
	for _, f := range slices.Compact(added) {
		for _, text := range validation.IsQualifiedName(f) {
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: %s", f, text))
		}
		switch {
		case strings.Contains(f, "/"), f == metav1.FinalizerOrphanDependents, f == metav1.FinalizerDeleteDependents, f == string(corev1.FinalizerKubernetes):
		case strings.Contains(f, "."):
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other finalizer writers", f))
		default:
			out = append(out, fmt.Sprintf("metadata.finalizers: %q: prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers", f))
		}
	}
	return out
}

// validateScale checks that the numbers that Scale shows are such: of the spec if spec is set, and of the status.
func (v *version) validateScale(obj *unstructured.Unstructured, spec bool) (errs field.ErrorList) {
	if v.scaleSpec == nil {
		return nil
	}
	number := func(path string) {
		n, _, err := unstructured.NestedInt64(obj.Object, fieldsOf(path)...)
		switch {
		case err != nil:
			errs = append(errs, field.Invalid(field.NewPath(path), n, err.Error()))
		case n < 0:
			errs = append(errs, field.Invalid(field.NewPath(path), n, "should be a non-negative integer"))
		case n > math.MaxInt32:
			errs = append(errs, field.Invalid(field.NewPath(path), n, fmt.Sprintf("should be less than or equal to %v", math.MaxInt32)))
		}
	}
	if spec {
		number(v.scaleSpec.SpecReplicasPath)
	}
	number(v.scaleSpec.StatusReplicasPath)
	if path := v.scaleSpec.LabelSelectorPath; path != nil && *path != "" {
		if text, _, err := unstructured.NestedString(obj.Object, fieldsOf(*path)...); err != nil {
			errs = append(errs, field.Invalid(field.NewPath(*path), text, err.Error()))
		}
	}
	return errs
}

// fieldsOf splits a path like .spec.replicas, which has no other syntax.
func fieldsOf(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }
