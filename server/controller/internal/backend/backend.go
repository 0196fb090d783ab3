// Package backend finds the pods behind a Service, for both endpoint APIs.
package backend

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// ServiceKey is the key of a Service's event.
func ServiceKey(_ client.Snapshot, e *store.Event) []string {
	return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
}

// PodKeys are the Services that select a pod, or did before the event.
func PodKeys(s client.Snapshot, e *store.Event) (keys []string) {
	pod := e.Object.(*corev1.Pod)
	var old *corev1.Pod
	if e.Old != nil {
		old = e.Old.(*corev1.Pod)
		if e.Type == store.Modified && same(pod, old) {
			return nil
		}
	}
	for service := range client.List[*corev1.Service](s, pod.Namespace) {
		if Selects(service, pod) || old != nil && Selects(service, old) {
			keys = append(keys, service.Namespace+"/"+service.Name)
		}
	}
	return keys
}

// same tells whether nothing that an endpoint says has changed.
func same(a, b *corev1.Pod) bool {
	return labels.Equals(a.Labels, b.Labels) && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && a.Spec.NodeName == b.Spec.NodeName &&
		a.Status.Phase == b.Status.Phase && Ready(a) == Ready(b) && slices.Equal(a.Status.PodIPs, b.Status.PodIPs) && a.Spec.Hostname == b.Spec.Hostname && a.Spec.Subdomain == b.Spec.Subdomain
}

// Managed tells whether a Service's endpoints are made from pods: it has a selector and is not just another name.
func Managed(service *corev1.Service) bool {
	return len(service.Spec.Selector) > 0 && service.Spec.Type != corev1.ServiceTypeExternalName
}

// Selects tells whether the Service has the pod behind it.
func Selects(service *corev1.Service, pod *corev1.Pod) bool {
	return Managed(service) && service.Namespace == pod.Namespace && labels.Set(service.Spec.Selector).AsSelectorPreValidated().Matches(labels.Set(pod.Labels))
}

// Pods returns the pods behind a Service that have an address and have not finished, sorted by name.
func Pods(s client.Snapshot, service *corev1.Service) (pods []*corev1.Pod) {
	selector := labels.Set(service.Spec.Selector).AsSelectorPreValidated()
	for pod := range client.List[*corev1.Pod](s, service.Namespace) {
		if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded || len(pod.Status.PodIPs) == 0 {
			continue
		}
		if selector.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// Ready tells whether the pod's Ready condition is true.
func Ready(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Address returns the pod's address of a family, "" if it has none.
func Address(pod *corev1.Pod, family corev1.IPFamily) string {
	for _, ip := range pod.Status.PodIPs {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Is4() == (family == corev1.IPv4Protocol) {
			return ip.IP
		}
	}
	return ""
}

// Families of a Service: its own, else that of its cluster address, else IPv4.
func Families(service *corev1.Service) []corev1.IPFamily {
	if len(service.Spec.IPFamilies) > 0 {
		return service.Spec.IPFamilies
	}
	if addr, err := netip.ParseAddr(service.Spec.ClusterIP); err == nil && addr.Is6() {
		return []corev1.IPFamily{corev1.IPv6Protocol}
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

// Port resolves a Service port on one pod; ok is false when the pod has no port of that name.
func Port(service *corev1.ServicePort, pod *corev1.Pod) (port int32, ok bool) {
	if service.TargetPort.Type == intstr.Int {
		return service.TargetPort.IntVal, true
	}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, sidecars(pod)} {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.Name == service.TargetPort.StrVal && protocol(p.Protocol) == protocol(service.Protocol) {
					return p.ContainerPort, true
				}
			}
		}
	}
	return 0, false
}

func sidecars(pod *corev1.Pod) (out []corev1.Container) {
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}

func protocol(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// Headless tells whether the Service has no address of its own.
func Headless(service *corev1.Service) bool { return service.Spec.ClusterIP == corev1.ClusterIPNone }

// Hostname is the pod's name within the Service's domain, "" if it has none.
func Hostname(service *corev1.Service, pod *corev1.Pod) string {
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name && service.Namespace == pod.Namespace {
		return pod.Spec.Hostname
	}
	return ""
}

// Labels are the Service's, for its endpoints, with the mark of a headless one.
func Labels(service *corev1.Service) map[string]string {
	out := map[string]string{}
	for key, value := range service.Labels {
		out[key] = value
	}
	delete(out, corev1.IsHeadlessService)
	if Headless(service) {
		out[corev1.IsHeadlessService] = ""
	}
	return out
}
