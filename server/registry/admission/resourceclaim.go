package admission

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/registry"
)

// adminNamespace labels the namespaces whose claims may have devices that others use.
const adminNamespace = "resource.kubernetes.io/admin-access"

// resourceClaims lets claims have administrators' access to devices only where that is allowed, and tells those who may
// allocate and reserve (resourceclaims/binding) from those who may report on devices (resourceclaims/driver). It also
// stamps the taints of devices whose effect changes.
func resourceClaims(c *Config) registry.Plugin {
	return registry.Plugin{Name: "ResourceClaimAccess",
		Admit: func(_ context.Context, a *registry.Attributes) error {
			rule, ok := a.Object.(*resourcev1.DeviceTaintRule)
			old, both := a.Old.(*resourcev1.DeviceTaintRule)
			if ok && both && a.Subresource == "" && rule.Spec.Taint.Effect != old.Spec.Taint.Effect && rule.Spec.Taint.TimeAdded.Equal(old.Spec.Taint.TimeAdded) {
				rule.Spec.Taint.TimeAdded = &metav1.Time{Time: c.now().Truncate(time.Second)}
			}
			return nil
		},
		Validate: func(ctx context.Context, a *registry.Attributes) error {
			var errs field.ErrorList
			switch obj := a.Object.(type) {
			case *resourcev1.ResourceClaimTemplate:
				if a.Verb == registry.VerbCreate {
					errs = c.adminAccess(a, obj.Spec.Spec.Devices.Requests)
				}
			case *resourcev1.ResourceClaim:
				switch old, _ := a.Old.(*resourcev1.ResourceClaim); {
				case a.Verb == registry.VerbCreate:
					errs = c.adminAccess(a, obj.Spec.Devices.Requests)
				case old != nil && a.Subresource == "status":
					errs = c.claimStatus(ctx, a, &obj.Status, &old.Status)
				}
			}
			if len(errs) > 0 {
				return apierrors.NewInvalid(groupKind(a.Kind), a.Name, errs)
			}
			return nil
		}}
}

func (c *Config) adminAccess(a *registry.Attributes, requests []resourcev1.DeviceRequest) field.ErrorList {
	for i, r := range requests {
		if r.Exactly != nil && r.Exactly.AdminAccess != nil && *r.Exactly.AdminAccess {
			return c.adminNamespace(a, field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess"))
		}
	}
	return nil
}

func (c *Config) adminNamespace(a *registry.Attributes, at *field.Path) field.ErrorList {
	if ns, ok := get[*corev1.Namespace](c, "", a.Namespace); ok && ns.Labels[adminNamespace] == "true" {
		return nil
	}
	return field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", adminNamespace))}
}

func (c *Config) claimStatus(ctx context.Context, a *registry.Attributes, s, old *resourcev1.ResourceClaimStatus) (errs field.ErrorList) {
	if i := adminResult(s); i >= 0 && adminResult(old) < 0 {
		errs = c.adminNamespace(a, field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess"))
	}
	if c.Authorizer == nil || a.User == nil {
		return errs
	}
	if !apiequality.Semantic.DeepEqual(s.Allocation, old.Allocation) || !apiequality.Semantic.DeepEqual(s.ReservedFor, old.ReservedFor) {
		if !c.mayClaim(ctx, a, resourcev1.SubresourceBinding, "", "", "update", "patch") {
			errs = append(errs, field.Forbidden(field.NewPath("status", "allocation"),
				fmt.Sprintf(`changing status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: User %q cannot do that`, a.User.GetName())))
		}
	}
	if s.Allocation == nil {
		return errs
	}
	verbs := []string{resourcev1.VerbPrefixArbitraryNode + "update", resourcev1.VerbPrefixArbitraryNode + "patch"}
	if onNode(a.User, s.Allocation) {
		verbs = append(verbs, resourcev1.VerbPrefixAssociatedNode+"update", resourcev1.VerbPrefixAssociatedNode+"patch")
	}
	for _, driver := range changedDrivers(s, old) {
		if !c.mayClaim(ctx, a, resourcev1.SubresourceDriver, a.Namespace, driver, verbs...) {
			errs = append(errs, field.Forbidden(field.NewPath("status", "devices"),
				fmt.Sprintf(`changing status.devices requires resource="resourceclaims/driver", verb="%s" permission: User %q cannot do that for driver %q`, verbs, a.User.GetName(), driver)))
		}
	}
	return errs
}

// adminResult is the index of the first result with administrators' access; -1 if there is none.
func adminResult(s *resourcev1.ResourceClaimStatus) int {
	if s.Allocation == nil {
		return -1
	}
	return slices.IndexFunc(s.Allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool { return r.AdminAccess != nil && *r.AdminAccess })
}

// mayClaim asks whether the user has one of the verbs on a subresource that exists for this question only.
func (c *Config) mayClaim(ctx context.Context, a *registry.Attributes, sub, namespace, name string, verbs ...string) bool {
	for _, verb := range verbs {
		decision, _, _ := c.Authorizer.Authorize(ctx, authorizer.AttributesRecord{User: a.User, Verb: verb, APIGroup: resourcev1.GroupName, APIVersion: "v1",
			Resource: "resourceclaims", Subresource: sub, Namespace: namespace, Name: name, ResourceRequest: true})
		if decision == authorizer.DecisionAllow {
			return true
		}
	}
	return false
}

// changedDrivers are those whose devices have another state than before, sorted.
func changedDrivers(s, old *resourcev1.ResourceClaimStatus) (drivers []string) {
	type id struct{ driver, pool, device, share string }
	of := func(d resourcev1.AllocatedDeviceStatus) id {
		k := id{driver: d.Driver, pool: d.Pool, device: d.Device}
		if d.ShareID != nil {
			k.share = *d.ShareID
		}
		return k
	}
	before := map[id]resourcev1.AllocatedDeviceStatus{}
	for _, d := range old.Devices {
		before[of(d)] = d
	}
	for _, d := range s.Devices {
		if was, ok := before[of(d)]; !ok || !apiequality.Semantic.DeepEqual(was, d) {
			drivers = append(drivers, d.Driver)
		}
		delete(before, of(d))
	}
	for k := range before {
		drivers = append(drivers, k.driver)
	}
	slices.Sort(drivers)
	return slices.Compact(drivers)
}

// onNode says whether a service account's token belongs to a pod on the one node that the devices are on.
func onNode(u user.Info, a *resourcev1.AllocationResult) bool {
	if a.NodeSelector == nil || len(a.NodeSelector.NodeSelectorTerms) != 1 {
		return false
	}
	t := a.NodeSelector.NodeSelectorTerms[0]
	if len(t.MatchExpressions) > 0 || len(t.MatchFields) != 1 {
		return false
	}
	f, nodes := t.MatchFields[0], u.GetExtra()[serviceaccount.NodeNameKey]
	_, _, err := serviceaccount.SplitUsername(u.GetName())
	return err == nil && f.Key == metav1.ObjectNameField && f.Operator == corev1.NodeSelectorOpIn && len(f.Values) == 1 && len(nodes) == 1 && nodes[0] == f.Values[0]
}
