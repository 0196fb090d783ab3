package api

import (
	"fmt"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The kinds' files are written against their own Go types; what follows lifts their funcs to Object.

// typed is the API version whose object is T and whose list is L.
func typed[T, L any, P interface {
	*T
	Object
}, PL interface {
	*L
	runtime.Object
}](group, version string) Version {
	return Version{
		Group: group, Version: version,
		New:     func() Object { return P(new(T)) },
		NewList: func() runtime.Object { return PL(new(L)) },
	}
}

// listless is the API version of a kind that is not stored.
func listless[T any, P interface {
	*T
	Object
}](group, version string) Version {
	return Version{Group: group, Version: version, New: func() Object { return P(new(T)) }}
}

func one[T Object, R any](f func(T) R) func(Object) R {
	return func(o Object) R { return f(o.(T)) }
}

func do[T Object](f func(T)) func(Object) {
	return func(o Object) { f(o.(T)) }
}

// pair lifts a func of new and old; old is nil when there is none.
func pair[T Object, R any](f func(obj, old T) R) func(obj, old Object) R {
	return func(obj, old Object) R {
		before, _ := old.(T)
		return f(obj.(T), before)
	}
}

func doPair[T Object](f func(obj, old T)) func(obj, old Object) {
	return func(obj, old Object) { f(obj.(T), old.(T)) }
}

// created is the PrepareCreate of a kind with a generation: it starts at 1, and clear drops what users may not set.
func created[T Object](clear func(T)) func(Object) {
	return func(o Object) {
		o.SetGeneration(1)
		if clear != nil {
			clear(o.(T))
		}
	}
}

// updated is the PrepareUpdate of a kind with a generation: keep carries over from old what this update may not touch,
// and the generation grows when what spec returns has changed.
func updated[T Object](keep func(obj, old T), spec func(T) any) func(obj, old Object) {
	return func(o, p Object) {
		obj, old := o.(T), p.(T)
		if keep != nil {
			keep(obj, old)
		}
		bump(obj, old, !apiequality.Semantic.DeepEqual(spec(obj), spec(old)))
	}
}

// bump gives obj the generation of old, or the next one.
func bump(obj, old Object, changed bool) {
	g := old.GetGeneration()
	if changed {
		g++
	}
	obj.SetGeneration(g)
}

var readWrite = []string{"get", "patch", "update"}

// status is the status subresource: set copies the status. Of the metadata it takes what upstream lets a status update
// touch: labels, annotations, finalizers, owners and managed fields.
func status[T Object](set func(to, from T), validate func(obj, old T) field.ErrorList) Subresource {
	s := Subresource{Name: "status", Verbs: readWrite, Inject: inject(func(to, from T) {
		to.SetLabels(from.GetLabels())
		to.SetAnnotations(from.GetAnnotations())
		to.SetFinalizers(from.GetFinalizers())
		to.SetOwnerReferences(from.GetOwnerReferences())
		set(to, from)
	})}
	if validate != nil {
		s.Validate = pair(validate)
	}
	return s
}

// statusAlone is status for kinds of which a status update takes the status and nothing of the metadata.
func statusAlone[T Object](set func(to, from T), validate func(obj, old T) field.ErrorList) Subresource {
	s := Subresource{Name: "status", Verbs: readWrite, Inject: inject(set)}
	if validate != nil {
		s.Validate = pair(validate)
	}
	return s
}

// inject makes an Inject func of change, which may keep parts of sent: both arguments are copies.
func inject[T Object](change func(to, sent T)) func(Object, runtime.Object) (Object, error) {
	return func(stored Object, sent runtime.Object) (Object, error) {
		from, ok := sent.DeepCopyObject().(T)
		if !ok {
			return nil, fmt.Errorf("expected a %T, got a %T", stored, sent)
		}
		to := stored.DeepCopyObject().(T)
		to.SetManagedFields(from.GetManagedFields())
		to.SetResourceVersion(from.GetResourceVersion())
		change(to, from)
		return to, nil
	}
}

// connect is a subresource that the apiserver serves itself; verbs are what discovery lists for it.
func connect(name string, gvk schema.GroupVersionKind, new func() runtime.Object, verbs ...string) Subresource {
	return Subresource{Name: name, Verbs: append([]string{"connect"}, verbs...), GVK: gvk, New: new}
}

func core(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Version: "v1", Kind: kind}
}

// col is one column; wide makes it one that only -o wide shows.
func col[T Object](name, typ, description string, cell func(T, time.Time) any) Column {
	return Column{
		TableColumnDefinition: metav1.TableColumnDefinition{Name: name, Type: typ, Description: description},
		Cell:                  func(o Object, now time.Time) any { return cell(o.(T), now) },
	}
}

func wide(c Column) Column {
	c.Priority = 1
	return c
}

// str is a string column which needs no clock.
func str[T Object](name, description string, cell func(T) string) Column {
	return col(name, "string", description, func(o T, _ time.Time) any { return cell(o) })
}

// num is an integer column.
func num[T Object, N ~int | ~int32 | ~int64](name, description string, cell func(T) N) Column {
	return col(name, "integer", description, func(o T, _ time.Time) any { return int64(cell(o)) })
}

// tally is an integer in a column that upstream declares as a string.
func tally[T Object, N ~int | ~int32 | ~int64](name, description string, cell func(T) N) Column {
	c := num(name, description, cell)
	c.Type = "string"
	return c
}

// nameColumn marks the object that one of these annotations makes the default of its kind.
func nameColumn(annotations ...string) Column {
	c := str("Name", "name", func(o Object) string {
		for _, a := range annotations {
			if o.GetAnnotations()[a] == "true" {
				return o.GetName() + " (default)"
			}
		}
		return o.GetName()
	})
	c.Format = "name"
	return c
}

// age is the Age column that nearly all kinds end with.
func age() Column {
	return col("Age", "string", "time since the object was created", func(o Object, now time.Time) any {
		return since(o.GetCreationTimestamp().Time, now)
	})
}

// createdAt is the one column of kinds for which upstream has thought of no others.
func createdAt() Column {
	return col("Created At", "date", "when the object was created", func(o Object, _ time.Time) any {
		return o.GetCreationTimestamp().UTC().Format(time.RFC3339)
	})
}

// since is how `kubectl get` prints a past time.
func since(t, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t))
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

// fieldErrors shortens signatures.
type fieldErrors = field.ErrorList

// unset sets *p to a pointer to v if it is nil; blank sets *p to v if it is zero.
func unset[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}

func blank[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func gvk(group, version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: group, Version: version, Kind: kind}
}
