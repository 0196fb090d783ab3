package admission

import (
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nodePorts takes those that the Service names and hands out those it lacks. Ports of the same number and different
// protocols share one.
func (t *allocation) nodePorts() error {
	spec := &t.svc.Spec
	if spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer {
		byPort := map[int32]int32{}
		for i := range spec.Ports {
			if p := &spec.Ports[i]; p.NodePort != 0 {
				if err := t.chosenPort(i, p.NodePort); err != nil {
					return err
				}
				byPort[p.Port] = p.NodePort
			}
		}
		if err := t.freePorts(byPort); err != nil {
			return err
		}
	}
	return t.healthCheckPort()
}

func (t *allocation) freePorts(byPort map[int32]int32) error {
	spec := &t.svc.Spec
	if spec.Type == corev1.ServiceTypeLoadBalancer && spec.AllocateLoadBalancerNodePorts != nil && !*spec.AllocateLoadBalancerNodePorts {
		return nil
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		if shared := byPort[p.Port]; shared != 0 && !t.used(shared, p.Protocol) {
			p.NodePort = shared
			continue
		}
		port, err := t.freePort()
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
		}
		p.NodePort, byPort[p.Port] = port, port
	}
	return nil
}

// used says whether another port of this Service has the node port with the same protocol.
func (t *allocation) used(port int32, protocol corev1.Protocol) bool {
	for _, p := range t.svc.Spec.Ports {
		if p.NodePort == port && p.Protocol == protocol {
			return true
		}
	}
	return false
}

func (t *allocation) healthCheckPort() error {
	spec := &t.svc.Spec
	if spec.Type != corev1.ServiceTypeLoadBalancer || spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	if port := spec.HealthCheckNodePort; port != 0 {
		if t.old != nil && t.old.Spec.HealthCheckNodePort == port {
			return nil
		}
		if reason := t.refusePort(port); reason != "" {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %s", port, reason))
		}
		t.ports = append(t.ports, port)
		return nil
	}
	port, err := t.freePort()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort: %w", err))
	}
	spec.HealthCheckNodePort = port
	return nil
}

func (t *allocation) chosenPort(i int, port int32) error {
	if t.old != nil {
		for _, p := range t.old.Spec.Ports {
			if p.NodePort == port {
				return nil
			}
		}
	}
	if reason := t.refusePort(port); reason != "" {
		return t.invalid(field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), port, reason))
	}
	t.ports = append(t.ports, port)
	return nil
}

// refusePort says why a port cannot be had; "" if it can.
func (t *allocation) refusePort(port int32) string {
	if port < t.al.first || port > t.al.last {
		return fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", t.al.first, t.al.last)
	}
	t.look()
	if t.takenPorts[port] {
		return "provided port is already allocated"
	}
	return ""
}

// freePort hands out a port: a random one above the part that is left for users to choose from, else any.
func (t *allocation) freePort() (int32, error) {
	t.look()
	size := t.al.last - t.al.first + 1
	static := int32(0)
	if size >= 16 {
		static = min(max(16, size/32), 128)
	}
	mine := map[int32]bool{}
	for _, p := range t.ports {
		mine[p] = true
	}
	if t.old != nil { // what it gives up in this update is free only once that is written
		for _, p := range t.old.Spec.Ports {
			mine[p.NodePort] = true
		}
	}
	for _, band := range [][2]int32{{t.al.first + static, t.al.last}, {t.al.first, t.al.first + static - 1}} {
		n := band[1] - band[0] + 1
		if n <= 0 {
			continue
		}
		start := rand.Int32N(n)
		for i := range n {
			if port := band[0] + (start+i)%n; !t.takenPorts[port] && !mine[port] {
				t.ports = append(t.ports, port)
				return port, nil
			}
		}
	}
	return 0, fmt.Errorf("range is full")
}
