// Package revision keeps the history of a pod template in ControllerRevisions, for DaemonSets and StatefulSets.
//
// A revision holds a strategic merge patch that puts its template back (kubectl rollout undo applies it). Decide is pure: it finds
// the revision of the template that is wanted now, or makes one; Apply stores it, gives it the highest number and removes its doubles.
// Truncate says which old ones are beyond the history limit.
package revision

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"codeberg.org/skiff/skiff/server/api"
)

// Parent is what has a history.
type Parent struct {
	Object api.Object
	GVK    schema.GroupVersionKind
	// Template that is wanted now.
	Template *corev1.PodTemplateSpec
	// HashLabel is the label of a revision that carries its hash.
	HashLabel string
	// Collisions is status.collisionCount.
	Collisions *int32
}

// Plan is what to do with a history.
type Plan struct {
	// Current is the revision of the template, as it will be; it is not stored yet when Create is set, and has another number
	// than the stored one when Renumber is.
	Current          *appsv1.ControllerRevision
	Create, Renumber bool
	// Doubles hold the same template as Current; Old hold others, the oldest first.
	Doubles, Old []*appsv1.ControllerRevision
}

func (p Plan) String() string {
	var b strings.Builder
	switch {
	case p.Create:
		fmt.Fprintf(&b, "create revision %d\n", p.Current.Revision)
	case p.Renumber:
		fmt.Fprintf(&b, "renumber revision %s %d\n", p.Current.Name, p.Current.Revision)
	}
	for _, r := range p.Doubles {
		fmt.Fprintf(&b, "delete double revision %s\n", r.Name)
	}
	return b.String()
}

// Decide finds the revision of the parent's template in its history, or makes one.
func Decide(parent Parent, history []*appsv1.ControllerRevision) (p Plan, err error) {
	data, err := Data(parent.Template)
	if err != nil {
		return p, err
	}
	history = slices.Clone(history)
	slices.SortStableFunc(history, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, r := range history {
		if !equal(r.Data.Raw, data) {
			p.Old = append(p.Old, r)
			continue
		}
		if p.Current != nil {
			p.Doubles = append(p.Doubles, p.Current)
		}
		p.Current = r // the newest of those that are equal
	}
	next := int64(1)
	if n := len(p.Old); n > 0 {
		next = p.Old[n-1].Revision + 1
	}
	switch {
	case p.Current == nil:
		p.Create, p.Current = true, newRevision(parent, data, next)
	case p.Current.Revision < next:
		p.Renumber, p.Current = true, p.Current.DeepCopy()
		p.Current.Revision = next
	}
	return p, nil
}

// Truncate returns the oldest revisions that are in no use, so that at most limit of old stay beside those in use.
func Truncate(old []*appsv1.ControllerRevision, limit int32, used func(*appsv1.ControllerRevision) bool) (drop []*appsv1.ControllerRevision) {
	excess := len(old) - int(limit)
	for _, r := range old {
		if excess <= 0 {
			break
		}
		if !used(r) {
			drop = append(drop, r)
			excess--
		}
	}
	return drop
}

// Data is the patch that puts a template back: {"spec":{"template":{…,"$patch":"replace"}}}.
func Data(template *corev1.PodTemplateSpec) ([]byte, error) {
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(template)
	if err != nil {
		return nil, fmt.Errorf("pod template: %w", err)
	}
	raw["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": raw}})
}

// Template returns the template that a revision holds.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("controller revision %s/%s: %w", r.Namespace, r.Name, err)
	}
	return &patch.Spec.Template, nil
}

// equal compares patches; somebody may have written one anew with other spaces or another order.
func equal(a, b []byte) bool { return bytes.Equal(a, b) || bytes.Equal(canonical(a), b) }

func canonical(data []byte) []byte {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return nil
	}
	out, _ := json.Marshal(v)
	return out
}

func newRevision(parent Parent, data []byte, number int64) *appsv1.ControllerRevision {
	hash := hashOf(data, parent.Collisions)
	labels := maps.Clone(parent.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[parent.HashLabel] = hash
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: parent.Object.GetNamespace(), Name: name(parent.Object.GetName(), hash), Labels: labels,
			Annotations:     maps.Clone(parent.Object.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(parent.Object, parent.GVK)},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: number,
	}
}

// maxPrefix leaves room for the hash in a name of 253 characters, as upstream does.
const maxPrefix = 223

func name(parent, hash string) string { return parent[:min(len(parent), maxPrefix)] + "-" + hash }

// hashOf names a template: letters and digits that spell no words. Collisions are told apart by the count of them.
func hashOf(data []byte, collisions *int32) string {
	h := fnv.New32a()
	h.Write(data)
	if collisions != nil {
		fmt.Fprint(h, *collisions)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}
