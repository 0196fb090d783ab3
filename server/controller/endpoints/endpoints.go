// Package endpoints keeps the Endpoints object of every Service that has a selector: the older of the two endpoint APIs, which
// many clients still read.
package endpoints

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/backend"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	// maxAddresses in one object; more are left out and the object says so.
	maxAddresses   = 1000
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"
	// goneSuffix of a key: the Service was seen to go, and takes its Endpoints with it, whoever wrote them.
	goneSuffix = "/gone"
)

// New returns the controller; its keys are Services, "namespace/name".
func New() controller.Controller {
	return controller.Controller{
		Name:    "endpoint-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &corev1.Service{}, Keys: func(s client.Snapshot, e *store.Event) []string {
				keys := backend.ServiceKey(s, e)
				if e.Type == store.Deleted {
					keys[0] += goneSuffix
				}
				return keys
			}},
			{Kind: &corev1.Pod{}, Keys: backend.PodKeys},
			{Kind: &corev1.Endpoints{}, Keys: func(s client.Snapshot, e *store.Event) []string {
				if e.Type == store.Added && e.Object.GetLabels()[managedByLabel] != managedBy {
					return nil
				}
				return backend.ServiceKey(s, e)
			}},
		},
		Reconcile: reconcile,
	}
}

func reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	key, gone := strings.CutSuffix(key, goneSuffix)
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	service, ok := client.Get[*corev1.Service](snap, namespace, name)
	have, exists := client.Get[*corev1.Endpoints](snap, namespace, name)
	if !ok {
		// Endpoints have no owner reference, in upstream as here: those of a Service that has gone are deleted by name.
		if exists && (gone || have.Labels[managedByLabel] == managedBy) {
			return controller.Result{}, c.DeleteNow(ctx, have)
		}
		return controller.Result{}, nil
	}
	if !backend.Managed(service) || service.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	want := decide(service, backend.Pods(snap, service), have)
	if exists && equality.Semantic.DeepEqual(have, want) {
		return controller.Result{}, nil
	}
	var err error
	if exists {
		_, err = c.Update(ctx, want)
	} else {
		_, err = c.Create(ctx, want)
	}
	switch {
	case err == nil, apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return controller.Result{}, nil
	}
	return controller.Result{}, fmt.Errorf("endpoints %s: %w", key, err)
}

// decide is pure: what the object should be, given the one that there is (nil for none).
func decide(service *corev1.Service, pods []*corev1.Pod, have *corev1.Endpoints) *corev1.Endpoints {
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if have != nil {
		want = have.DeepCopy()
	}
	want.Labels = backend.Labels(service)
	want.Labels[managedByLabel] = managedBy
	delete(want.Annotations, corev1.EndpointsOverCapacity)
	if len(pods) > maxAddresses {
		if want.Annotations == nil {
			want.Annotations = map[string]string{}
		}
		want.Annotations[corev1.EndpointsOverCapacity] = "truncated"
		pods = pods[:maxAddresses]
	}
	want.Subsets = subsets(service, pods)
	return want
}

// subsets groups the addresses that have the same ports; ready and not ready ones apart within each.
func subsets(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	byPorts := map[string]*corev1.EndpointSubset{}
	var order []string
	family := backend.Families(service)[0]
	for _, pod := range pods {
		ip := backend.Address(pod, family)
		if ip == "" || pod.DeletionTimestamp != nil && !service.Spec.PublishNotReadyAddresses {
			continue
		}
		ports := portsOf(service, pod)
		if len(ports) == 0 && len(service.Spec.Ports) > 0 {
			continue
		}
		key := keyOf(ports)
		if byPorts[key] == nil {
			byPorts[key] = &corev1.EndpointSubset{Ports: ports}
			order = append(order, key)
		}
		address := corev1.EndpointAddress{IP: ip, Hostname: backend.Hostname(service, pod),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}}
		if pod.Spec.NodeName != "" {
			node := pod.Spec.NodeName
			address.NodeName = &node
		}
		subset := byPorts[key]
		switch {
		case service.Spec.PublishNotReadyAddresses || backend.Ready(pod):
			subset.Addresses = append(subset.Addresses, address)
		case pod.Spec.RestartPolicy != corev1.RestartPolicyNever || pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodPending:
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, address)
		}
	}
	slices.Sort(order)
	var out []corev1.EndpointSubset
	for _, key := range order {
		subset := byPorts[key]
		byIP := func(a, b corev1.EndpointAddress) int { return strings.Compare(a.IP, b.IP) }
		slices.SortFunc(subset.Addresses, byIP)
		slices.SortFunc(subset.NotReadyAddresses, byIP)
		out = append(out, *subset)
	}
	return out
}

func portsOf(service *corev1.Service, pod *corev1.Pod) (ports []corev1.EndpointPort) {
	for i := range service.Spec.Ports {
		sp := &service.Spec.Ports[i]
		if number, ok := backend.Port(sp, pod); ok {
			ports = append(ports, corev1.EndpointPort{Name: sp.Name, Port: number, Protocol: sp.Protocol, AppProtocol: sp.AppProtocol})
		}
	}
	return ports
}

// keyOf is equal for equal ports.
func keyOf(ports []corev1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%s/%d/%s", p.Name, p.Port, p.Protocol)
		if p.AppProtocol != nil {
			b.WriteString("/" + *p.AppProtocol)
		}
		b.WriteByte(',')
	}
	return b.String()
}
