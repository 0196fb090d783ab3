package netproxy

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// healthChecks are the servers that tell a load balancer whether this node has endpoints of a Service with
// externalTrafficPolicy Local.
type healthChecks struct {
	log     *slog.Logger
	servers map[types.NamespacedName]*healthCheck
	running sync.WaitGroup
}

type healthCheck struct {
	service types.NamespacedName
	port    int32
	local   atomic.Int64
	server  *http.Server
}

// healthOf is the port a Service wants, 0 for none, and how many endpoints are here.
func healthOf(svc *corev1.Service, eps []*discoveryv1.EndpointSlice, node string) (port int32, local int) {
	if svc == nil || foreign(svc) || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return 0, 0
	}
	here := map[string]bool{}
	for _, slice := range eps {
		for _, e := range slice.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ready && e.NodeName != nil && *e.NodeName == node && len(e.Addresses) > 0 && slice.AddressType != discoveryv1.AddressTypeFQDN {
				here[e.Addresses[0]] = true
			}
		}
	}
	return svc.Spec.HealthCheckNodePort, len(here)
}

// set starts, stops or updates a Service's server. It is called from one goroutine.
func (h *healthChecks) set(service types.NamespacedName, port int32, local int) {
	have := h.servers[service]
	if have != nil && have.port != port {
		have.server.Close()
		delete(h.servers, service)
		have = nil
	}
	if port == 0 {
		return
	}
	if have == nil {
		have = &healthCheck{service: service, port: port}
		have.server = &http.Server{Handler: have, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", ":"+strconv.Itoa(int(port)))
		if err != nil {
			h.log.Error("health check of a Service cannot be served", "service", service, "port", port, "error", err)
			return
		}
		h.servers[service] = have
		h.running.Go(func() { have.server.Serve(listener) })
	}
	have.local.Store(int64(local))
}

// close stops all servers and waits for them.
func (h *healthChecks) close() {
	for _, s := range h.servers {
		s.server.Close()
	}
	h.running.Wait()
}

// ServeHTTP answers 200 when there are endpoints here, 503 when not, with upstream's body.
func (c *healthCheck) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	local := c.local.Load()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.FormatInt(local, 10))
	if local == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	json.NewEncoder(w).Encode(map[string]any{
		"service":             map[string]string{"namespace": c.service.Namespace, "name": c.service.Name},
		"localEndpoints":      local,
		"serviceProxyHealthy": true,
	})
}
