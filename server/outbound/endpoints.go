package outbound

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Endpoint is one address behind a Service.
type Endpoint struct {
	// Node on which Address (host:port) is found; "" is unknown.
	Node, Address string
}

// Endpoints returns the endpoints of a port of a Service that are ready now, in no particular order and never none. port
// is the port's name or number, "" for the only one. Errors are API errors.
func Endpoints(c *api.Catalogue, s *store.Snapshot, namespace, name, port string) ([]Endpoint, error) {
	svc, err := findService(c, s, namespace, name)
	if err != nil {
		return nil, err
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot proxy to service %q", name))
	}
	portName, found := servicePort(svc, port)
	if !found {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %q found for service %q", port, name))
	}
	ready := readyEndpoints(c, s, svc, portName)
	if len(ready) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return ready, nil
}

func findService(c *api.Catalogue, s *store.Snapshot, namespace, name string) (*corev1.Service, error) {
	kind := c.ByObject(&corev1.Service{})
	if kind != nil {
		if svc, ok := s.Get(kind, namespace, name).(*corev1.Service); ok {
			return svc, nil
		}
	}
	return nil, apierrors.NewNotFound(corev1.Resource("services"), name)
}

func servicePort(svc *corev1.Service, port string) (name string, ok bool) {
	if port == "" && len(svc.Spec.Ports) == 1 {
		return svc.Spec.Ports[0].Name, true
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if port != "" && p.Name == port || strconv.Itoa(int(p.Port)) == port {
			return p.Name, true
		}
	}
	return "", false
}

func readyEndpoints(c *api.Catalogue, s *store.Snapshot, svc *corev1.Service, portName string) (out []Endpoint) {
	kind := c.ByObject(&discoveryv1.EndpointSlice{})
	if kind == nil {
		return nil
	}
	for obj := range s.List(kind, svc.Namespace, "") {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok || slice.Labels[discoveryv1.LabelServiceName] != svc.Name {
			continue
		}
		for _, p := range slice.Ports {
			if p.Port != nil && (p.Name != nil && *p.Name == portName || p.Name == nil && portName == "") {
				out = appendReady(out, slice.Endpoints, strconv.Itoa(int(*p.Port)))
			}
		}
	}
	return out
}

func appendReady(out []Endpoint, endpoints []discoveryv1.Endpoint, port string) []Endpoint {
	for i := range endpoints {
		e := &endpoints[i]
		if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
			continue
		}
		found := Endpoint{Address: net.JoinHostPort(e.Addresses[0], port)}
		if e.NodeName != nil {
			found.Node = *e.NodeName
		}
		out = append(out, found)
	}
	return out
}

// dialAttempts is how many endpoints of a Service are tried for one connection.
const dialAttempts = 3

// DialService connects to a ready endpoint of a port of a Service; port 0 is 443. A Service of type ExternalName is
// dialled by its name.
func (c *Client) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	if port == 0 {
		port = defaultPort
	}
	snap := c.cfg.Snapshot()
	svc, err := findService(c.cfg.Catalogue, snap, namespace, name)
	if err != nil {
		return nil, err
	}
	number := strconv.Itoa(int(port))
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return c.cfg.Dial(ctx, "", net.JoinHostPort(svc.Spec.ExternalName, number))
	}
	ready, err := Endpoints(c.cfg.Catalogue, snap, namespace, name, number)
	if err != nil {
		return nil, err
	}
	rand.Shuffle(len(ready), func(i, j int) { ready[i], ready[j] = ready[j], ready[i] })
	var failed []error
	for _, e := range ready[:min(len(ready), dialAttempts)] {
		conn, err := c.cfg.Dial(ctx, e.Node, e.Address)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failed = append(failed, err)
	}
	return nil, fmt.Errorf("dial service %s/%s: %w", namespace, name, errors.Join(failed...))
}
