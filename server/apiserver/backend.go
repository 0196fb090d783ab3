package apiserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/apiserver/proxy"
	"codeberg.org/skiff/skiff/server/outbound"
)

// proxied serves /proxy below a pod, a service or a node. backend finds where it leads.
func (q *request) proxied(backend func(scheme, name, port string) (proxy.Target, error)) error {
	prefix, rest := q.proxyPath()
	if rest == "" && (q.r.Method == http.MethodGet || q.r.Method == http.MethodHead) {
		// Relative links need the slash.
		to := q.r.URL.EscapedPath() + "/"
		if q.r.URL.RawQuery != "" {
			to += "?" + q.r.URL.RawQuery
		}
		q.w.Header().Set("Location", to)
		q.w.WriteHeader(http.StatusMovedPermanently)
		return nil
	}
	scheme, name, port, ok := splitSchemeNamePort(q.path.name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", q.kind.Singular, q.path.name))
	}
	target, err := backend(scheme, name, port)
	if err != nil {
		return err
	}
	if rest == "" {
		rest = "/"
	}
	target.Path, target.Query, target.Prefix, target.Fail = rest, q.r.URL.RawQuery, prefix, q.failed
	q.w.Header().Del("Cache-Control")
	q.open(target)
	return nil
}

// proxyPath splits the URL, as it was escaped, after …/<name>/proxy.
func (q *request) proxyPath() (prefix, rest string) {
	escaped := q.r.URL.EscapedPath()
	skip := 6 // "", api, v1, nodes, <name>, proxy
	if q.path.namespacedInPath {
		skip = 8 // "", api, v1, namespaces, <ns>, pods, <name>, proxy
	}
	at := 0
	for range skip {
		next := strings.IndexByte(escaped[at:], '/')
		if next < 0 {
			return escaped, ""
		}
		at += next + 1
	}
	return escaped[:at-1], escaped[at-1:]
}

// splitSchemeNamePort reads name, name:port and scheme:name:port; the port of the last may be empty.
func splitSchemeNamePort(id string) (scheme, name, port string, ok bool) {
	parts := strings.Split(id, ":")
	switch len(parts) {
	case 1:
		name = parts[0]
	case 2:
		name, port = parts[0], parts[1]
	case 3:
		scheme, name, port = parts[0], parts[1], parts[2]
		if scheme != "http" && scheme != "https" && scheme != "" {
			return "", "", "", false
		}
	default:
		return "", "", "", false
	}
	return scheme, name, port, name != ""
}

func (q *request) podBackend(scheme, name, port string) (proxy.Target, error) {
	pod, err := q.pod(name)
	if err != nil {
		return proxy.Target{}, err
	}
	if port == "" {
		port = "80"
		for i := range pod.Spec.Containers {
			if ports := pod.Spec.Containers[i].Ports; len(ports) > 0 {
				port = strconv.Itoa(int(ports[0].ContainerPort))
				break
			}
		}
	}
	ip := pod.Status.PodIP
	if err := proxyable(ip); err != nil {
		return proxy.Target{}, err
	}
	return proxy.Target{Node: pod.Spec.NodeName, Address: net.JoinHostPort(ip, port), TLS: scheme == "https"}, nil
}

// proxyable refuses addresses that mean something to the machine that dials, this one or a node, and not to the cluster: loopback, link-local (where
// clouds serve credentials), unspecified and multicast. Nodes write the addresses of their pods and of themselves.
func proxyable(ip string) error {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.Unmap().IsGlobalUnicast() {
		return apierrors.NewBadRequest("address not allowed")
	}
	return nil
}

func (q *request) nodeBackend(scheme, name, port string) (proxy.Target, error) {
	target, err := q.kubelet(name, "", "")
	if err != nil {
		return target, err
	}
	host, own, _ := net.SplitHostPort(target.Address)
	if port == "" || port == own {
		return target, nil // who answers there shows the node's certificate
	}
	if err := proxyable(host); err != nil {
		return proxy.Target{}, err
	}
	return proxy.Target{Node: name, Address: net.JoinHostPort(host, port), TLS: scheme == "https"}, nil
}

// serviceBackend picks a ready endpoint of a service's port, which is named or numbered, or the only one.
func (q *request) serviceBackend(scheme, name, port string) (proxy.Target, error) {
	ready, err := outbound.Endpoints(q.cfg.Catalogue, q.snapshot(), q.path.namespace, name, port)
	if err != nil {
		return proxy.Target{}, err
	}
	e := ready[rand.N(len(ready))]
	if host, _, err := net.SplitHostPort(e.Address); err != nil || proxyable(host) != nil {
		return proxy.Target{}, apierrors.NewBadRequest("address not allowed")
	}
	return proxy.Target{Node: e.Node, Address: e.Address, TLS: scheme == "https"}, nil
}
