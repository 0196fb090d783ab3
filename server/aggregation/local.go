package aggregation

import (
	"context"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
)

// managedLabel marks the APIServices that the server itself makes: "onstart" for built-in group versions, "true" for
// those of CustomResourceDefinitions, which come and go.
const managedLabel = "kube-aggregator.kubernetes.io/automanaged"

// groupPriorities are upstream's; a built-in group that is not here comes after all that are.
var groupPriorities = map[string]int32{
	"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
	"autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
	"rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700,
	"admissionregistration.k8s.io": 16700, "scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300,
	"discovery.k8s.io": 16200, "resource.k8s.io": 16200, "flowcontrol.apiserver.k8s.io": 16100,
	"internal.apiserver.k8s.io": 16000, "storagemigration.k8s.io": 15800, "lifecycle.k8s.io": 15700,
}

const (
	otherGroupPriority      = 15000
	customGroupPriority     = 1000
	customVersionPriority   = 100
	ownGroup                = "apiregistration.k8s.io" // has no APIService: the aggregator cannot be aggregated
	builtInVersionPriority  = 15
	autoscalingV2, coreOnly = 30, 1
)

// wanted are the APIServices of the group versions that this server has.
func wanted(c *api.Catalogue, snap client.Snapshot) map[string]*apiregistrationv1.APIService {
	out := map[string]*apiregistrationv1.APIService{}
	add := func(gv schema.GroupVersion, label string, group, version int32) {
		name := gv.Version + "." + gv.Group
		if out[name] != nil || gv.Group == ownGroup {
			return
		}
		out[name] = &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managedLabel: label}},
			Spec:       apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: group, VersionPriority: version},
		}
	}
	custom := map[string]bool{}
	for crd := range client.List[*apiextensionsv1.CustomResourceDefinition](snap, "") {
		custom[crd.Spec.Group] = true
		for _, v := range crd.Spec.Versions {
			if v.Served {
				add(schema.GroupVersion{Group: crd.Spec.Group, Version: v.Name}, "true", customGroupPriority, customVersionPriority)
			}
		}
	}
	for _, k := range c.Kinds() {
		for _, v := range k.Versions {
			if custom[v.Group] || v.Unserved {
				continue // of a definition that was deleted or changed a moment ago, or is in out already
			}
			group, version := groupPriorities[v.Group], int32(builtInVersionPriority)
			switch {
			case group == 0:
				group = otherGroupPriority
			case v.Group == "":
				version = coreOnly
			case v.Group == "autoscaling" && v.Version == "v2":
				version = autoscalingV2
			}
			if group == otherGroupPriority && !isBuiltIn(v.Group) {
				continue
			}
			add(schema.GroupVersion{Group: v.Group, Version: v.Version}, "onstart", group, version)
		}
	}
	return out
}

// isBuiltIn: custom groups are those of definitions, which are looked at by themselves.
func isBuiltIn(group string) bool {
	_, known := groupPriorities[group]
	return known
}

// syncLocal makes, puts right and deletes the APIServices that the server manages. One without the label is somebody
// else's.
func (a *Aggregator) syncLocal(ctx context.Context, snap client.Snapshot) error {
	want := wanted(a.cfg.Client.Catalogue(), snap)
	for have := range client.List[*apiregistrationv1.APIService](snap, "") {
		next := want[have.Name]
		delete(want, have.Name)
		if have.Labels[managedLabel] == "" || have.Spec.Service != nil {
			continue
		}
		if next == nil {
			if err := a.cfg.Client.DeleteNow(ctx, have); err != nil {
				return fmt.Errorf("delete API service %s: %w", have.Name, err)
			}
			continue
		}
		if sameSpec(have, next) && have.Labels[managedLabel] == next.Labels[managedLabel] {
			continue
		}
		changed := have.DeepCopy()
		changed.Spec = next.Spec
		changed.Labels[managedLabel] = next.Labels[managedLabel]
		if _, err := a.cfg.Client.Update(ctx, changed); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("update API service %s: %w", have.Name, err)
		}
	}
	names := make([]string, 0, len(want))
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, err := a.cfg.Client.Create(ctx, want[name]); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create API service %s: %w", name, err)
		}
	}
	return nil
}

func sameSpec(a, b *apiregistrationv1.APIService) bool {
	return a.Spec.Group == b.Spec.Group && a.Spec.Version == b.Spec.Version &&
		a.Spec.GroupPriorityMinimum == b.Spec.GroupPriorityMinimum && a.Spec.VersionPriority == b.Spec.VersionPriority
}
