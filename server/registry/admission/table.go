// Package admission holds the admission plugins: one file each, one ordered table ([Table]).
//
// A plugin decides from one request and one snapshot of the store. It opens nothing, starts no goroutine and writes
// nothing; a mutating one changes only the object that is being admitted. What a plugin hands out (addresses, node
// ports, quota) it holds in memory until the write is visible in every snapshot (Attributes.AfterWrite), so that the
// snapshot and what is held together are always the whole truth in this process.
//
// A kind that a plugin looks at may be missing from the catalogue; there are then none of it.
//
// To add a plugin: one file with a func that returns a registry.Plugin, and one line in the table, where upstream has it.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/policy"
	"codeberg.org/skiff/skiff/server/registry/admission/webhook"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of the plugins.
type Config struct {
	Store     *store.Store
	Catalogue *api.Catalogue
	// ServiceCIDRs are where cluster IPs come from, one or two families; the first is the default family.
	ServiceCIDRs []netip.Prefix
	// ReservedIPs of these ranges are never handed out by themselves (the address of the cluster DNS).
	ReservedIPs []netip.Addr
	// NodePortRange is "first-last"; default 30000-32767.
	NodePortRange string
	// Authorizer is asked what the author of an object may do beside writing it. Nil lets everybody.
	Authorizer authorizer.UnconditionalAuthorizer
	// Post sends to webhooks; nil means that none is asked.
	Post webhook.Post
	// Enabled names plugins that run only if asked for: OwnerReferences.
	Enabled []string
	// Extra plugins run after those of this package that look at one kind, and before webhooks, policies and quotas.
	Extra []registry.Plugin
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Log; default discards.
	Log *slog.Logger
}

// Table returns the plugins in the order in which they run, which is upstream's.
func Table(c Config) ([]registry.Plugin, error) {
	if c.Store == nil || c.Catalogue == nil {
		return nil, errors.New("admission: Store and Catalogue are required")
	}
	security, err := podSecurity(&c)
	if err != nil {
		return nil, err
	}
	services, err := serviceAllocator(&c)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	plugins := []registry.Plugin{
		namespaceLifecycle(&c),
		customResourceLifecycle(&c),
		limitRanger(&c),
		serviceAccount(&c),
		nodeRestriction(&c),
		taintNodesByCondition(),
		security,
		priority(&c),
		defaultTolerationSeconds(),
		defaultStorageClass(&c),
		storageProtection(),
		ownerReferences(&c),
		claimResize(&c),
		runtimeClass(&c),
		certificateRequester(&c),
		certificateApproval(&c),
		certificateSigning(&c),
		trustBundleAttest(&c),
		podCertificateSigning(&c),
		resourceClaims(&c),
		certificateSubjectRestriction(),
		defaultIngressClass(&c),
		paramKinds(&c),
		services,
	}
	if !slices.Contains(c.Enabled, OwnerReferences) {
		plugins = slices.DeleteFunc(plugins, func(p registry.Plugin) bool { return p.Name == OwnerReferences })
	}
	plugins = append(plugins, c.Extra...)
	plugins = append(plugins, dynamic(&c)...)
	return append(plugins, resourceQuota(&c)), nil
}

// dynamic are the plugins that do what objects of the API say: policies before webhooks, as upstream has it.
func dynamic(c *Config) []registry.Plugin {
	policies := policy.Config{Catalogue: c.Catalogue, Snapshot: c.Store.Snapshot, Authorizer: c.Authorizer}
	if c.Post == nil {
		return []registry.Plugin{policy.Mutating(policies), policy.Validating(policies)}
	}
	hooks := webhook.Config{Catalogue: c.Catalogue, Snapshot: c.Store.Snapshot, Authorizer: c.Authorizer, Post: c.Post, Log: c.Log}
	return []registry.Plugin{policy.Mutating(policies), webhook.Mutating(hooks), policy.Validating(policies), webhook.Validating(hooks)}
}

func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// onPods lifts a plugin's func to requests for pods themselves (no subresource) with one of the verbs. old is nil on CREATE.
func onPods(f func(ctx context.Context, a *registry.Attributes, pod, old *corev1.Pod) error, verbs ...string) func(context.Context, *registry.Attributes) error {
	return func(ctx context.Context, a *registry.Attributes) error {
		if a.Subresource != "" || !oneOf(a.Verb, verbs) {
			return nil
		}
		pod, ok := a.Object.(*corev1.Pod)
		if !ok {
			return nil
		}
		old, _ := a.Old.(*corev1.Pod)
		return f(ctx, a, pod, old)
	}
}

func oneOf(s string, list []string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// forbidden is 403 for the admitted object.
func forbidden(a *registry.Attributes, format string, args ...any) error {
	return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf(format, args...))
}

// get reads an object of T's kind from the newest snapshot; ok is false if there is none, or no such kind.
func get[T api.Object](c *Config, namespace, name string) (obj T, ok bool) {
	var zero T
	kind := c.Catalogue.ByObject(zero)
	if kind == nil {
		return obj, false
	}
	obj, ok = c.Store.Snapshot().Get(kind, namespace, name).(T)
	return obj, ok
}

// list reads the objects of T's kind in a namespace ("": all) from a snapshot.
func list[T api.Object](c *Config, s *store.Snapshot, namespace string) []T {
	var zero T
	kind := c.Catalogue.ByObject(zero)
	if kind == nil {
		return nil
	}
	var out []T
	for obj := range s.List(kind, namespace, "") {
		if t, ok := obj.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// isKind says whether the request is for the kind itself.
func isKind(a *registry.Attributes, group, kind string) bool {
	return a.Kind.Kind == kind && a.Kind.Group == group && a.Subresource == ""
}

// keyOf names an object among all of its kind.
func keyOf(obj runtime.Object) string {
	o, ok := obj.(api.Object)
	if !ok {
		return ""
	}
	return o.GetNamespace() + "/" + o.GetName()
}

func groupKind(k *api.Kind) schema.GroupKind { return schema.GroupKind{Group: k.Group, Kind: k.Kind} }
