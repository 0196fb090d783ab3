package api

import (
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Object is what every stored object is: typed, and carrying ObjectMeta.
// An Object that came out of the store is shared by everyone and must never be changed: DeepCopyObject first.
type Object interface {
	runtime.Object
	metav1.Object
}

// Kind is one entry of the catalogue: all that the generic server knows about one stored kind.
// A built-in kind is a literal in a file of this package; a CustomResourceDefinition makes the same entry at run time.
// Every func field may be nil, which means "nothing special"; none of them may read a clock, a store or a network.
type Kind struct {
	// Group is the API group, "" for the legacy core group.
	Group string
	// Kind is the CamelCase name, e.g. "ReplicaSet"; ListKind the list's if that is not Kind and "List".
	Kind, ListKind string
	// Plural is the resource name in paths, e.g. "replicasets"; Singular e.g. "replicaset".
	Plural, Singular string
	ShortNames       []string
	Categories       []string
	Namespaced       bool
	// Virtual kinds are not stored: POST is their only verb, and an action of the registry answers it (the access
	// reviews, TokenReview, Binding). Their Prefix is empty and their Version.NewList is nil.
	Virtual bool

	// Versions lists the API versions that serve this kind. Versions[0] is the hub: the form in which objects are
	// held in memory, validated and stored. The others are converted at the HTTP border.
	Versions []Version
	// Stored are further versions in which objects may lie in etcd, of another distribution's cluster. They are read, by their New and
	// ToHub, and never written or served.
	Stored []Version

	// Unpublished kinds are served to those who know them: discovery and OpenAPI do not show them yet.
	Unpublished bool

	// Prefix is the etcd key prefix, as upstream lays it out, e.g. "/registry/pods" or "/registry/services/specs".
	// The key of an object is Prefix/namespace/name, or Prefix/name for a kind without namespaces.
	Prefix string
	// TTL, when it returns more than 0, makes the stored object expire (Events).
	TTL func(Object) time.Duration

	// Strategy is what happens to an object on its way in, in this order: Default, PrepareCreate or PrepareUpdate,
	// admission, Validate or ValidateUpdate.
	Strategy

	// Subresources are the paths below an object, e.g. status, scale, binding. Connect-style ones (exec, log, proxy)
	// are listed too, for discovery and authorization; the apiserver serves them itself.
	Subresources []Subresource

	// Columns are the columns of `kubectl get`, without Name, which is always first (unless one of Columns is called
	// Name: Events print it last, storage classes add "(default)").
	Columns []Column

	// Fields returns the selectable fields beside metadata.name and metadata.namespace; FieldNames lists their
	// names, so that an unknown one is refused with 400.
	Fields     func(Object) fields.Set
	FieldNames []string

	// Share lets a freshly read object hold the parts that are equal in its former state, which is shared and not to be
	// changed. It is for kinds with objects of megabytes, of which memory may hold several states for a while.
	Share func(obj, old Object)

	// Indexes are secondary indexes the store keeps over its cache.
	Indexes []Index

	// Verbs the kind serves; nil means all of get, list, watch, create, update, patch, delete, deletecollection.
	Verbs []string

	// Convert is set for custom kinds only. Their objects stay in memory in the version in which they were stored, which
	// their apiVersion says: the hub, except for those that were written before the definition chose another version to
	// store. A request works on objects of the version that it speaks (see Version.Custom), and what it writes is
	// converted to the hub last. Convert brings objects of any version of the kind to one: those that are of it already
	// come back as they are, others as copies. It may ask a webhook, so it can fail and take a while.
	Convert func(objs []Object, to *Version) ([]Object, error)
}

// Version is one API version that serves a kind.
type Version struct {
	// Group is the group that serves this version; it is Kind.Group except for events, which two groups serve.
	Group   string
	Version string
	// New returns an empty object, NewList an empty list, of this version's Go types.
	New     func() Object
	NewList func() runtime.Object
	// ToHub and FromHub convert to and from Versions[0]. Nil for the hub. Neither changes its argument.
	ToHub   func(Object) (Object, error)
	FromHub func(Object) (Object, error)
	// Deprecation, when set, is the text of a Warning header on every request through this version.
	Deprecation string
	// Plural, when set, is the resource's name in this version if it differs (it never does for built-in kinds).
	Plural string

	// The rest is for kinds that are not Go types (custom resources); nil for built-in ones.

	// Schema makes this version's published OpenAPI v3 schema, whole: with apiVersion, kind and metadata. It is what
	// OpenAPI documents show and what server-side apply merges by. A large one takes megabytes, so nobody keeps it.
	Schema func() *spec.Schema
	// Prune removes from a decoded object, in place, what the schema does not know, and returns what it removed in the
	// words of a strict decoding error (unknown field "spec.x"). An error says that the object cannot be one of this kind
	// at all, because its metadata is not metadata.
	Prune func(obj Object) (unknown []string, err error)
	// Unserved versions are known only for the objects that are stored in them: no path leads to them.
	Unserved bool
	// Custom is what is particular to this version of a custom kind, whose funcs work on objects of this version and not
	// of the hub. The kind's own fields of the same names are those of its hub.
	Custom *CustomVersion
}

// CustomVersion is what each version of a custom kind may have different.
type CustomVersion struct {
	Strategy
	Subresources []Subresource
	Columns      []Column
	Fields       func(Object) fields.Set
	FieldNames   []string
	// Memo is where others keep what they have made of this version, so that it goes when the definition does.
	Memo sync.Map
}

// Strategy says what a kind does with an object that comes in. Each func works on hub objects and may change
// only its first argument.
type Strategy struct {
	// Default fills in what the user left out, as upstream's defaulting does. It runs on every decoded body, and on
	// every object read from etcd.
	Default func(obj Object)
	// PrepareCreate drops what a user may not set on create (status) and sets generation and the like.
	// The registry has already set uid, creationTimestamp and name.
	PrepareCreate func(obj Object)
	// PrepareUpdate carries over from old what an update of the main resource may not touch (status), and bumps
	// metadata.generation when the spec changed.
	PrepareUpdate func(obj, old Object)
	// Validate checks a new object, without metadata, which the registry checks for all kinds (ValidateName below).
	Validate func(obj Object) field.ErrorList
	// ValidateUpdate checks obj against old; Validate has not been called.
	ValidateUpdate func(obj, old Object) field.ErrorList
	// ValidateName returns what is wrong with a name (apimachinery's validation.NameIs* funcs); nil means DNS subdomain.
	ValidateName func(name string, prefix bool) []string
	// Warnings returns the texts of Warning headers for an accepted object.
	Warnings func(obj, old Object) []string
	// AllowCreateOnUpdate lets PUT create a missing object (Endpoints, Leases, Events …).
	AllowCreateOnUpdate bool
	// AllowUnconditionalUpdate lets PUT without resourceVersion through (true for most kinds).
	AllowUnconditionalUpdate bool
	// GracePeriod is for kinds that are deleted in two steps (Pod): it returns how many seconds the object still has
	// when options ask for grace (nil: the object's own), 0 for at once.
	GracePeriod func(obj Object, asked *int64) int64
	// BeginDelete changes an object whose deletion begins, before it is known whether anything holds it: it may add a
	// finalizer of the kind.
	BeginDelete func(obj Object, now time.Time)
	// DefaultPropagation is used when the caller names none; nil means background.
	DefaultPropagation metav1.DeletionPropagation
}

// Subresource is one path below an object.
type Subresource struct {
	// Name is the path element, e.g. "status".
	Name string
	// Verbs is a subset of get, update, patch, create, delete, and connect for what the apiserver serves itself
	// (streams and proxies): discovery shows the others.
	Verbs []string
	// GVK of what is sent and received, if it is not the kind itself (scale: autoscaling/v1 Scale).
	GVK schema.GroupVersionKind
	// New returns an empty body for GVK; nil means the kind itself.
	New func() runtime.Object

	// For subresources that get, update or patch the stored object:

	// Project shows the stored object as this subresource's type (scale); nil means the object itself.
	Project func(stored Object) (runtime.Object, error)
	// Has tells why a stored object has nothing that a get could show; nil means that all have. Updates may add it.
	Has func(stored Object) error
	// Inject returns a copy of stored, changed by what was sent: the one place that says what this subresource may
	// touch. For status it copies status (and nothing of spec). It must not change stored or sent.
	Inject func(stored Object, sent runtime.Object) (Object, error)
	// Validate checks the result of Inject.
	Validate func(obj, old Object) field.ErrorList
	// ReplicasPath is where the object has the number that Scale calls spec.replicas; nil means there.
	ReplicasPath []string
}

// Column is one column of a Table.
type Column struct {
	metav1.TableColumnDefinition
	// Cell returns the value for obj: a string, an int64, a bool or nil. now is for ages.
	Cell func(obj Object, now time.Time) any
}

// Index maps an object to the values under which it is found again.
type Index struct {
	// Name, e.g. "spec.nodeName".
	Name string
	// Values returns the values of obj; none means obj is not in the index.
	Values func(obj Object) []string
}

// GVK returns the hub version's group, version and kind.
func (k *Kind) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.Versions[0].Group, Version: k.Versions[0].Version, Kind: k.Kind}
}

// GVR returns the hub version's group, version and resource.
func (k *Kind) GVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: k.Versions[0].Group, Version: k.Versions[0].Version, Resource: k.Plural}
}

// GroupResource is how errors name the kind, e.g. deployments.apps.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Plural}
}

// ListName is the kind of a list of objects.
func (k *Kind) ListName() string {
	if k.ListKind != "" {
		return k.ListKind
	}
	return k.Kind + "List"
}

// Hub is the version objects are held and stored in.
func (k *Kind) Hub() *Version { return &k.Versions[0] }

// Subresource returns the entry with that name, or nil.
func (k *Kind) Subresource(name string) *Subresource {
	for i := range k.Subresources {
		if k.Subresources[i].Name == name {
			return &k.Subresources[i]
		}
	}
	return nil
}

// SubresourceOf returns the entry with that name of a version (nil: the hub), or nil.
func (k *Kind) SubresourceOf(v *Version, name string) *Subresource {
	if v == nil || v.Custom == nil {
		return k.Subresource(name)
	}
	for i := range v.Custom.Subresources {
		if v.Custom.Subresources[i].Name == name {
			return &v.Custom.Subresources[i]
		}
	}
	return nil
}

// SubresourcesOf lists the subresources that a version has.
func (k *Kind) SubresourcesOf(v *Version) []Subresource {
	if v == nil || v.Custom == nil {
		return k.Subresources
	}
	return v.Custom.Subresources
}

// ColumnsOf lists the columns of a version's tables. Their cells take objects of that version if the kind is custom, and
// of the hub if not.
func (k *Kind) ColumnsOf(v *Version) []Column {
	if v == nil || v.Custom == nil {
		return k.Columns
	}
	return v.Custom.Columns
}

// StrategyOf is what happens to objects that come in through a version. Its funcs take objects of that version if the
// kind is custom, and of the hub if not.
func (k *Kind) StrategyOf(v *Version) *Strategy {
	if v == nil || v.Custom == nil {
		return &k.Strategy
	}
	return &v.Custom.Strategy
}

// ConvertTo converts one object of a custom kind; objects of other kinds come back as they are.
func (k *Kind) ConvertTo(obj Object, to *Version) (Object, error) {
	if k.Convert == nil {
		return obj, nil
	}
	out, err := k.Convert([]Object{obj}, to)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Key is the object's key below the prefix: "namespace/name", or "name" for a kind without namespaces.
func (k *Kind) Key(namespace, name string) string {
	if k.Namespaced {
		return namespace + "/" + name
	}
	return name
}
