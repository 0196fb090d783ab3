// Package quota says what an object takes from a ResourceQuota. Admission and the controller that writes a quota's status
// both add up by it, each over its own snapshot. All is pure but the [Book].
//
//	quota.go    what one object uses, by kind: here, pod.go, claim.go (volumes), device.go
//	scope.go    which objects a quota speaks of
//	growth.go   what a write adds to what is used
//	ledger.go   what all objects of a namespace use, brought up to date change by change; book.go keeps them
package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// View is what the usage of an object may depend on beside the object: the time, and other objects.
type View struct {
	Catalogue *api.Catalogue
	Snapshot  *store.Snapshot
	Now       time.Time
}

// get reads an object of T's kind.
func get[T api.Object](v View, namespace, name string) (obj T, ok bool) {
	var zero T
	kind := v.Catalogue.ByObject(zero)
	if kind == nil {
		return obj, false
	}
	obj, ok = v.Snapshot.Get(kind, namespace, name).(T)
	return obj, ok
}

// count is a number of things.
func count(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.DecimalSI) }

// plainCounts are the kinds that a quota may count by their plural alone; pods are counted apart.
var plainCounts = []string{"services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims"}

// countName is how a quota names the number of objects of a kind: count/deployments.apps.
func countName(k *api.Kind) corev1.ResourceName {
	return corev1.ResourceName("count/" + k.GroupResource().String())
}

// Counted tells whether quotas may limit a kind: stored objects in namespaces, except Events.
func Counted(k *api.Kind) bool {
	return k.Namespaced && !k.Virtual && (k.Plural != "events" || k.Group != "" && k.Group != "events.k8s.io")
}

// Grows tells whether an update through a subresource ("": none) can change what an object uses, so that admission has
// to look at it. What a status update changes has happened, and nobody can forbid it.
func Grows(k *api.Kind, subresource string) bool {
	switch k.Group + "/" + k.Plural {
	case "/pods":
		return subresource == "" || subresource == "resize"
	case "/services", "/persistentvolumeclaims", "resource.k8s.io/resourceclaims":
		return subresource == ""
	}
	return false
}

// Usage is what one object takes from a quota.
func (v View) Usage(k *api.Kind, obj runtime.Object) corev1.ResourceList {
	usage := corev1.ResourceList{countName(k): count(1)}
	if k.Group == "" && slices.Contains(plainCounts, k.Plural) {
		usage[corev1.ResourceName(k.Plural)] = count(1)
	}
	switch k.Group + "/" + k.Plural {
	case "/pods":
		addPod(usage, obj, v.Now)
	case "/services":
		addService(usage, obj)
	case "/persistentvolumeclaims":
		addVolumeClaim(usage, obj)
	case "resource.k8s.io/resourceclaims":
		v.addResourceClaim(usage, obj)
	}
	return usage
}

// addService counts node ports by what the Service is, not by those it has: a new one may have none yet.
func addService(usage corev1.ResourceList, obj runtime.Object) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return
	}
	ports, balancers := 0, int64(0)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = len(s.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		balancers, ports = 1, len(s.Spec.Ports)
		if allocate := s.Spec.AllocateLoadBalancerNodePorts; allocate != nil && !*allocate {
			ports = 0
			for _, p := range s.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
	}
	usage[corev1.ResourceServicesNodePorts], usage[corev1.ResourceServicesLoadBalancers] = count(int64(ports)), count(balancers)
}

// UsesAny tells whether objects of a kind can use any of the resources.
func UsesAny(k *api.Kind, hard corev1.ResourceList) bool {
	if !Counted(k) {
		return false
	}
	counted, uses := countName(k), usesOf(k)
	for name := range hard {
		if name == counted || uses != nil && uses(name) || k.Group == "" && string(name) == k.Plural && slices.Contains(plainCounts, k.Plural) {
			return true
		}
	}
	return false
}

// usesOf tells which resources objects of a kind use beside being counted; nil for none.
func usesOf(k *api.Kind) func(corev1.ResourceName) bool {
	switch k.Group + "/" + k.Plural {
	case "/pods":
		return usedByPods
	case "/services":
		return func(n corev1.ResourceName) bool {
			return n == corev1.ResourceServicesNodePorts || n == corev1.ResourceServicesLoadBalancers
		}
	case "/persistentvolumeclaims":
		return func(n corev1.ResourceName) bool {
			return n == corev1.ResourceRequestsStorage || strings.Contains(string(n), storageClassInfix)
		}
	case "resource.k8s.io/resourceclaims":
		return func(n corev1.ResourceName) bool {
			return strings.HasSuffix(string(n), corev1.ResourceClaimsPerClass) || ofDevices(n)
		}
	}
	return nil
}

// ofDevices tells the names for what pods may request as extended resources and get from a driver or a device class.
func ofDevices(n corev1.ResourceName) bool {
	name, ok := strings.CutPrefix(string(n), corev1.DefaultResourceRequestsPrefix)
	return ok && isDevice(corev1.ResourceName(name))
}
