package aggregation

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/client"
)

// verdict is the condition Available without its time.
type verdict struct {
	status          apiregistrationv1.ConditionStatus
	reason, message string
}

func no(reason, format string, args ...any) verdict {
	return verdict{apiregistrationv1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

var (
	passed = verdict{apiregistrationv1.ConditionTrue, "Passed", "all checks passed"}
	local  = verdict{apiregistrationv1.ConditionTrue, "Local", "Local APIServices are always available"}
)

// judge says what the objects alone tell of an APIService; ask is whether the server itself has to be asked.
func judge(s *apiregistrationv1.APIService, snap client.Snapshot) (v verdict, ask bool) {
	ref := s.Spec.Service
	if ref == nil {
		return local, false
	}
	port := int32(443)
	if ref.Port != nil {
		port = *ref.Port
	}
	svc, ok := client.Get[*corev1.Service](snap, ref.Namespace, ref.Name)
	if !ok {
		return no("ServiceNotFound", "service/%s in %q is not present", ref.Name, ref.Namespace), false
	}
	if svc.Spec.Type != corev1.ServiceTypeClusterIP && svc.Spec.Type != "" {
		return verdict{}, true // its endpoints are not ours to judge
	}
	name, found := "", false
	for _, p := range svc.Spec.Ports {
		if p.Port == port {
			name, found = p.Name, true
			break
		}
	}
	if !found {
		return no("ServicePortError", "service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, port), false
	}
	slices, ready := 0, false
	for slice := range client.List[*discoveryv1.EndpointSlice](snap, ref.Namespace) {
		if slice.Labels[discoveryv1.LabelServiceName] == ref.Name {
			slices++
			ready = ready || hasReady(slice, name)
		}
	}
	if slices == 0 {
		return no("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace), false
	}
	if !ready {
		return no("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, name), false
	}
	return verdict{}, true
}

func hasReady(slice *discoveryv1.EndpointSlice, port string) bool {
	has := false
	for _, p := range slice.Ports {
		has = has || p.Port != nil && (p.Name != nil && *p.Name == port || p.Name == nil && port == "")
	}
	if !has {
		return false
	}
	for _, e := range slice.Endpoints {
		if e.Conditions.Ready == nil || *e.Conditions.Ready {
			return true
		}
	}
	return false
}

// withCondition returns the APIService with its condition as it should be; nil when it is.
func withCondition(s *apiregistrationv1.APIService, v verdict, now metav1.Time) *apiregistrationv1.APIService {
	have := condition(s)
	if have != nil && have.Status == v.status && have.Reason == v.reason && have.Message == v.message {
		return nil
	}
	next := s.DeepCopy()
	c := condition(next)
	if c == nil {
		next.Status.Conditions = append(next.Status.Conditions, apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available})
		c = &next.Status.Conditions[len(next.Status.Conditions)-1]
	}
	if c.Status != v.status {
		c.LastTransitionTime = now
	}
	c.Status, c.Reason, c.Message = v.status, v.reason, v.message
	return next
}
