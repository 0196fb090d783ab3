package match

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

// Target is what a webhook or policy is asked about: the request's own resource and kind, or equivalent ones.
type Target struct {
	Resource schema.GroupVersionResource
	Kind     schema.GroupVersionKind
	version  *api.Version
}

// Subject is one write as rules see it. It belongs to one goroutine.
type Subject struct {
	*registry.Attributes
	// Asked is what the client named.
	Asked Target
	// Namespace of the request; that of a Namespace is its own name.
	Namespace string

	sub       *api.Subresource
	catalogue *api.Catalogue
	snapshot  *store.Snapshot
	views     map[schema.GroupVersionKind]*View
}

// New makes the subject of a write. Namespaces are read from the snapshot.
func New(a *registry.Attributes, c *api.Catalogue, s *store.Snapshot) *Subject {
	version := a.Version
	if version == nil {
		version = a.Kind.Hub()
	}
	m := &Subject{Attributes: a, Namespace: a.Namespace, sub: a.Kind.SubresourceOf(a.Version, a.Subresource), catalogue: c, snapshot: s}
	if isNamespace(a.Kind) {
		m.Namespace = a.Name
	}
	m.Asked = m.target(version)
	return m
}

func isNamespace(k *api.Kind) bool { return k.Group == "" && k.Kind == "Namespace" }

// VersionOf is the version of the kind that a target is of; nil when the subresource has a kind of its own.
func (m *Subject) VersionOf(t Target) *api.Version {
	if m.foreign() {
		return nil
	}
	return t.version
}

// target is the subject in a version of its kind. A subresource with a kind of its own has that in all versions.
func (m *Subject) target(v *api.Version) Target {
	plural := m.Attributes.Kind.Plural
	if v.Plural != "" {
		plural = v.Plural
	}
	t := Target{Resource: schema.GroupVersionResource{Group: v.Group, Version: v.Version, Resource: plural}, version: v,
		Kind: schema.GroupVersionKind{Group: v.Group, Version: v.Version, Kind: m.Attributes.Kind.Kind}}
	if m.foreign() {
		t.Kind = m.sub.GVK
	}
	return t
}

// foreign: the subresource has a kind of its own.
func (m *Subject) foreign() bool { return m.sub != nil && m.sub.GVK.Kind != "" }

// equivalents are the other versions in which the same object is served.
func (m *Subject) equivalents(yield func(Target) bool) {
	for i := range m.Attributes.Kind.Versions {
		v := &m.Attributes.Kind.Versions[i]
		if v == m.Asked.version || v.Unserved {
			continue
		}
		if !yield(m.target(v)) {
			return
		}
	}
}

// Exempt subjects are shown to no webhook and no policy: the configuration of admission itself, which must stay
// changeable whatever it says, and the reviews by which the cluster finds out who may do what.
func Exempt(k *api.Kind) bool {
	if k.Group == "admissionregistration.k8s.io" {
		return true
	}
	return slices.Contains(api.Unadmitted[k.Group], k.Plural)
}

// NamespaceObject is the namespace that the subject is in; nil for what is in none, and for a Namespace itself.
func (m *Subject) NamespaceObject() (*corev1.Namespace, error) {
	if m.Namespace == "" || isNamespace(m.Attributes.Kind) {
		return nil, nil
	}
	return m.namespace(m.Namespace)
}

func (m *Subject) namespace(name string) (*corev1.Namespace, error) {
	if kind := m.catalogue.ByObject(&corev1.Namespace{}); kind != nil {
		if ns, ok := m.snapshot.Get(kind, "", name).(*corev1.Namespace); ok {
			return ns, nil
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("namespaces"), name)
}

// namespaceLabels are what namespace selectors look at: of the namespace as it will be, when that is what is written.
func (m *Subject) namespaceLabels() (map[string]string, error) {
	written := m.Verb == registry.VerbCreate || m.Verb == registry.VerbUpdate
	if isNamespace(m.Attributes.Kind) && m.Subresource == "" && written {
		if obj, ok := m.Object.(metav1.Object); ok {
			return obj.GetLabels(), nil
		}
	}
	ns, err := m.namespace(m.Namespace)
	if err != nil {
		return nil, err
	}
	return ns.Labels, nil
}

// shown is an object of the request as the subresource shows it.
func (m *Subject) shown(obj runtime.Object) runtime.Object {
	if m.sub == nil || m.sub.Project == nil || obj == nil {
		return obj
	}
	if whole, ok := obj.(api.Object); ok {
		if out, err := m.sub.Project(whole); err == nil {
			return out
		}
	}
	return obj
}

// The next four make a Subject the library.Resource that CEL's authorizer.requestResource speaks of.

// GetName is the object's name.
func (m *Subject) GetName() string { return m.Name }

// GetNamespace is the request's.
func (m *Subject) GetNamespace() string { return m.Namespace }

// GetResource is what the client named.
func (m *Subject) GetResource() schema.GroupVersionResource { return m.Asked.Resource }

// GetSubresource is what the client named.
func (m *Subject) GetSubresource() string { return m.Subresource }
