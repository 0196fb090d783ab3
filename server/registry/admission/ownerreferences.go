package admission

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/registry"
)

// OwnerReferences is the name of a plugin that does not run unless it is asked for, as upstream has it: it breaks
// operators that were never given the right to finalize what they own.
const OwnerReferences = "OwnerReferencesPermissionEnforcement"

// ownerReferences keeps users from having the garbage collector delete for them what they may not delete, and from
// holding up the deletion of owners which they may not finalize.
func ownerReferences(c *Config) registry.Plugin {
	return registry.Plugin{Name: OwnerReferences, Validate: func(ctx context.Context, a *registry.Attributes) error {
		if c.Authorizer == nil || a.User == nil || a.Verb != registry.VerbCreate && a.Verb != registry.VerbUpdate ||
			isPods(a) && a.Subresource == "status" || !changesOwners(a.Object, a.Old) {
			return nil
		}
		resource := a.Kind.GVR()
		if a.Verb != registry.VerbCreate {
			may, reason, err := c.may(ctx, a, authorizer.AttributesRecord{Verb: "delete", Namespace: a.Namespace, APIGroup: resource.Group,
				APIVersion: resource.Version, Resource: resource.Resource, Subresource: a.Subresource, Name: a.Name})
			if !may {
				return forbidden(a, "cannot set an ownerRef on a resource you can't delete: %v, %v", reason, err)
			}
		}
		return c.mayBlock(ctx, a, newlyBlocking(a.Object, a.Old))
	}}
}

func isPods(a *registry.Attributes) bool { return a.Kind.Group == "" && a.Kind.Plural == "pods" }

func (c *Config) may(ctx context.Context, a *registry.Attributes, what authorizer.AttributesRecord) (bool, string, error) {
	what.User, what.ResourceRequest = a.User, true
	decision, reason, err := c.Authorizer.Authorize(ctx, what)
	return decision == authorizer.DecisionAllow, reason, err
}

// mayBlock: who lets an object hold up its owner's deletion must have the right to finalize the owner.
func (c *Config) mayBlock(ctx context.Context, a *registry.Attributes, refs []metav1.OwnerReference) error {
	if len(refs) == 0 {
		return nil
	}
	if may, _, _ := c.may(ctx, a, authorizer.AttributesRecord{Verb: "update", APIGroup: "*", APIVersion: "*", Resource: "*", Subresource: "finalizers", Name: "*"}); may {
		return nil
	}
	for _, ref := range refs {
		kind, version := c.Catalogue.ByKind(schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind))
		if kind == nil {
			return forbidden(a, "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion %s Kind %s: no matches for kind", ref.APIVersion, ref.Kind)
		}
		ask := authorizer.AttributesRecord{Verb: "update", APIGroup: version.Group, APIVersion: version.Version, Resource: kind.Plural, Subresource: "finalizers", Name: ref.Name}
		if kind.Namespaced {
			ask.Namespace = a.Namespace
		}
		if may, reason, err := c.may(ctx, a, ask); !may {
			return forbidden(a, "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: %v, %v", reason, err)
		}
	}
	return nil
}

func ownersOf(obj runtime.Object) []metav1.OwnerReference {
	if o, ok := obj.(metav1.Object); ok {
		return o.GetOwnerReferences()
	}
	return nil
}

func changesOwners(obj, old runtime.Object) bool {
	now, was := ownersOf(obj), ownersOf(old)
	return len(now)+len(was) > 0 && !apiequality.Semantic.DeepEqual(now, was)
}

// newlyBlocking are the references that block their owner's deletion and did not before.
func newlyBlocking(obj, old runtime.Object) (out []metav1.OwnerReference) {
	blocked := map[string]bool{}
	blocks := func(r *metav1.OwnerReference) bool { return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion }
	for _, r := range ownersOf(old) {
		blocked[string(r.UID)] = blocks(&r)
	}
	for _, r := range ownersOf(obj) {
		if blocks(&r) && !blocked[string(r.UID)] {
			out = append(out, r)
		}
	}
	return out
}
