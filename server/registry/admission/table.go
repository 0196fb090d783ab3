// Package admission holds the admission plugins: one file each, one ordered table ([Table]).
//
// A plugin decides from one request and one snapshot of the store. It opens nothing, starts no goroutine and writes
// nothing; a mutating one changes only the object that is being admitted. What a plugin hands out (addresses, node
// ports, quota) it holds in memory until the write is visible in every snapshot (Attributes.AfterWrite), so that the
// snapshot and what is held together are always the whole truth in this process.
//
// A kind that a plugin looks at may be missing from the catalogue; there are then none of it.
//
// To add a plugin: one file with a func that returns a registry.Plugin, and one line in entries, where upstream has it.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/policy"
	"codeberg.org/skiff/skiff/server/registry/admission/settings"
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
	// Post sends to mutating webhooks, PostValidating to the others; nil means that none is asked.
	Post, PostValidating webhook.Post
	// Enabled and Disabled name plugins that run, or do not, other than by default.
	Enabled, Disabled []string
	// Settings are the plugins' own configurations.
	Settings settings.Settings
	// NotReadySeconds and UnreachableSeconds are how long a pod stays on such a node unless it says so itself; nil:
	// DefaultTolerationSeconds.
	NotReadySeconds, UnreachableSeconds *int64
	// EnsureNamespace makes a namespace, for NamespaceAutoProvision only. It returns once it is in the store's snapshot.
	EnsureNamespace func(ctx context.Context, name string) error
	// Extra plugins run after those of this package that look at one kind, and before webhooks, policies and quotas.
	Extra []registry.Plugin
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Log; default discards.
	Log *slog.Logger
}

// Table returns the plugins that run, in the order in which they do, which is upstream's.
func Table(c Config) ([]registry.Plugin, error) {
	if c.Store == nil || c.Catalogue == nil {
		return nil, errors.New("admission: Store and Catalogue are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	chosen, err := choose(entries, c.Enabled, c.Disabled)
	if err != nil {
		return nil, err
	}
	var plugins []registry.Plugin
	for _, e := range chosen {
		if e.name == extraPlugins {
			plugins = append(plugins, c.Extra...)
			continue
		}
		p, err := e.make(&c)
		if err != nil {
			return nil, err
		}
		if p.Admit != nil || p.Validate != nil {
			plugins = append(plugins, p)
		}
	}
	return plugins, nil
}

// extraPlugins is where those of Config.Extra run.
const extraPlugins = "Extra"

// entry is one line of the table.
type entry struct {
	name string
	mode mode
	make func(c *Config) (registry.Plugin, error)
}

// mode says when a plugin runs.
type mode int

const (
	on  mode = iota // unless it is disabled
	off             // only if it is enabled
	own             // always: no plugin of upstream's, where other parts of the API server do this
)

// absent are upstream's plugins that are not there, with the reason.
var absent = map[string]string{
	"ImagePolicyWebhook": "webhooks for ImageReviews are not there; a ValidatingWebhookConfiguration for pods asks a webhook about images too",
}

// entries is the table, in upstream's order.
var entries = []entry{
	{"AlwaysAdmit", off, nothing}, // upstream's does nothing either
	{"NamespaceAutoProvision", off, namespaceAutoProvision},
	{"NamespaceLifecycle", on, simple(namespaceLifecycle)},
	{"CustomResourceLifecycle", own, simple(customResourceLifecycle)},
	{"NamespaceExists", off, simple(namespaceExists)},
	{"LimitPodHardAntiAffinityTopology", off, plain(limitAntiAffinity)},
	{"LimitRanger", on, simple(limitRanger)},
	{"ServiceAccount", on, simple(serviceAccount)},
	{"NodeRestriction", on, simple(nodeRestriction)}, // upstream's distributions all enable it
	{"TaintNodesByCondition", on, plain(taintNodesByCondition)},
	{"AlwaysPullImages", off, plain(alwaysPullImages)},
	{"PodSecurity", on, podSecurity},
	{"PodNodeSelector", off, simple(podNodeSelector)},
	{"Priority", on, simple(priority)},
	{"DefaultTolerationSeconds", on, simple(defaultTolerationSeconds)},
	{"PodTolerationRestriction", off, simple(podTolerationRestriction)},
	{"EventRateLimit", off, eventRateLimit},
	{"ExtendedResourceToleration", off, plain(extendedResourceToleration)},
	{"DefaultStorageClass", on, simple(defaultStorageClass)},
	{"StorageObjectInUseProtection", on, plain(storageProtection)},
	{"PodGroupProtection", on, nothing}, // it guards PodGroups, an API that is off by default and is not there
	{OwnerReferences, off, simple(ownerReferences)},
	{"PersistentVolumeClaimResize", on, simple(claimResize)},
	{"RuntimeClass", on, simple(runtimeClass)},
	{"CertificateRequester", own, simple(certificateRequester)},
	{"CertificateApproval", on, simple(certificateApproval)},
	{"CertificateSigning", on, simple(certificateSigning)},
	{"ClusterTrustBundleAttest", on, simple(trustBundleAttest)},
	{"PodCertificateSigning", own, simple(podCertificateSigning)},
	{"ResourceClaimAccess", own, simple(resourceClaims)},
	{"CertificateSubjectRestriction", on, plain(certificateSubjectRestriction)},
	{"DefaultIngressClass", on, simple(defaultIngressClass)},
	{"DenyServiceExternalIPs", off, plain(denyExternalIPs)},
	{"PodTopologyLabels", on, simple(podTopology)},
	{"NodeDeclaredFeatureValidator", on, simple(nodeFeatures)},
	{"PodResizeValidator", on, simple(podResize)},
	{"AdmissionPolicyParamKind", own, simple(paramKinds)},
	{"ServiceAllocator", own, serviceAllocator},
	{extraPlugins, own, nothing},

	// Policies, webhooks, quotas and the one that denies everything stay at the end.
	{"MutatingAdmissionPolicy", on, func(c *Config) (registry.Plugin, error) { return policy.Mutating(c.policies()), nil }},
	{"MutatingAdmissionWebhook", on, func(c *Config) (registry.Plugin, error) { return c.webhooks(webhook.Mutating, c.Post) }},
	{"ValidatingAdmissionPolicy", on, func(c *Config) (registry.Plugin, error) { return policy.Validating(c.policies()), nil }},
	{"ValidatingAdmissionWebhook", on, func(c *Config) (registry.Plugin, error) { return c.webhooks(webhook.Validating, c.PostValidating) }},
	{"ResourceQuota", on, simple(resourceQuota)},
	{"AlwaysDeny", off, plain(alwaysDeny)},
}

func nothing(*Config) (registry.Plugin, error) { return registry.Plugin{}, nil }

func plain(f func() registry.Plugin) func(*Config) (registry.Plugin, error) {
	return func(*Config) (registry.Plugin, error) { return f(), nil }
}

func simple(f func(*Config) registry.Plugin) func(*Config) (registry.Plugin, error) {
	return func(c *Config) (registry.Plugin, error) { return f(c), nil }
}

func (c *Config) policies() policy.Config {
	return policy.Config{Catalogue: c.Catalogue, Snapshot: c.Store.Snapshot, Authorizer: c.Authorizer}
}

// webhooks is nothing when there is no way to ask them.
func (c *Config) webhooks(of func(webhook.Config) registry.Plugin, post webhook.Post) (registry.Plugin, error) {
	if post == nil {
		return registry.Plugin{}, nil
	}
	return of(webhook.Config{Catalogue: c.Catalogue, Snapshot: c.Store.Snapshot, Authorizer: c.Authorizer, Post: post, Log: c.Log}), nil
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
