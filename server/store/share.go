package store

import (
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"codeberg.org/skiff/skiff/server/api"
)

// sharedBytes bounds the texts that are remembered; with more, all are forgotten and sharing begins anew.
const sharedBytes = 2 << 20

// shared lets the objects of the cache hold equal texts once: namespaces, label values, and above all what says who manages which fields,
// which is about a kilobyte in each of a Deployment's pods and the same in all of them. Only the applier uses it.
type shared struct {
	texts map[string]string
	size  int
	maps  labelMaps
	trees trees
}

// object makes a freshly decoded object, which nobody else has yet, hold the texts that others hold.
func (s *shared) object(obj api.Object) {
	if custom, ok := obj.(*unstructured.Unstructured); ok {
		for name, part := range custom.Object {
			custom.Object[name], _ = s.trees.share(part)
		}
		return
	}
	holder, ok := obj.(metav1.ObjectMetaAccessor)
	if !ok {
		return
	}
	m, ok := holder.GetObjectMeta().(*metav1.ObjectMeta)
	if !ok {
		return
	}
	m.Namespace = s.text(m.Namespace)
	for key, value := range m.Labels {
		m.Labels[key] = s.text(value)
	}
	// From here on they may be those of others, who read them.
	m.Labels, m.Annotations = s.maps.share(m.Labels), s.maps.share(m.Annotations)
	for i := range m.ManagedFields {
		f := &m.ManagedFields[i]
		f.Manager, f.APIVersion, f.FieldsType, f.Subresource = s.text(f.Manager), s.text(f.APIVersion), s.text(f.FieldsType), s.text(f.Subresource)
		f.Operation = metav1.ManagedFieldsOperationType(s.text(string(f.Operation)))
		if f.FieldsV1 != nil && len(f.FieldsV1.Raw) > 0 {
			// Nobody writes into what the cache holds, so the bytes of a string serve; the capacity keeps an append from trying.
			text := s.text(unsafe.String(unsafe.SliceData(f.FieldsV1.Raw), len(f.FieldsV1.Raw)))
			f.FieldsV1.Raw = unsafe.Slice(unsafe.StringData(text), len(text))
		}
	}
}

// text returns an equal text that was seen before, if there is one.
func (s *shared) text(t string) string {
	if t == "" {
		return t
	}
	if have, ok := s.texts[t]; ok {
		return have
	}
	if s.texts == nil || s.size+len(t) > sharedBytes {
		s.texts, s.size = map[string]string{}, 0
	}
	s.texts[t] = t
	s.size += len(t)
	return t
}
