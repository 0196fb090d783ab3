package server

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/join"
)

// reserved are the names and addresses that are a server's, a Service's or a node's, as the cluster says at each question.
func (s *Server) reserved() *join.Reserved {
	all := client.New(s.registry, s.store, s.catalogue, nil, system)
	return &join.Reserved{
		ServerNames:     func() []string { return s.servingLeaf().DNSNames },
		ServerAddresses: s.ownAddresses,
		Servers:         func() []string { return append(s.joinCluster().Servers, otherServers(all.Snapshot())...) },
		ServiceCIDRs:    func() []string { return append(slices.Clone(s.cfg.ServiceCIDRs), serviceRanges(all.Snapshot())...) },
		ClusterDomain:   s.cfg.ClusterDomain,
		ServiceExists: func(namespace, name string) bool {
			_, ok := client.Get[*corev1.Service](all.Snapshot(), namespace, name)
			return ok
		},
		NodeNamed: func(name string) string { return nodeNamed(all.Snapshot(), name) },
		NodeAt:    func(a netip.Addr) string { return nodeAt(all.Snapshot(), a) },
	}
}

// ownAddresses are those of the serving certificate and, because the server listens on all of them, those of the machine.
func (s *Server) ownAddresses() (out []netip.Addr) {
	for _, ip := range s.servingLeaf().IPs {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a.Unmap())
		}
	}
	if a, err := netip.ParseAddr(s.cfg.BindAddress); err == nil && !a.IsUnspecified() {
		return append(out, a)
	}
	machine, err := net.InterfaceAddrs()
	if err != nil {
		s.cfg.Log.Warn("cannot read the machine's addresses", "error", err)
	}
	for _, m := range machine {
		if p, err := netip.ParsePrefix(m.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}

// otherServers are the endpoints of the Service default/kubernetes.
func otherServers(snap client.Snapshot) (out []string) {
	for slice := range client.List[*discoveryv1.EndpointSlice](snap, metav1.NamespaceDefault) {
		if slice.Labels[discoveryv1.LabelServiceName] != "kubernetes" {
			continue
		}
		for _, e := range slice.Endpoints {
			for _, a := range e.Addresses {
				for _, p := range slice.Ports {
					if p.Port != nil {
						out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
					}
				}
			}
		}
	}
	return out
}

func serviceRanges(snap client.Snapshot) (out []string) {
	for r := range client.List[*networkingv1.ServiceCIDR](snap, "") {
		out = append(out, r.Spec.CIDRs...)
	}
	return out
}

// nodeNamed is the node that is called so, or else the first that said so of itself.
func nodeNamed(snap client.Snapshot, name string) string {
	if _, ok := client.Get[*corev1.Node](snap, "", name); ok {
		return name
	}
	return firstNode(snap, func(address string) bool { return strings.EqualFold(strings.TrimSuffix(address, "."), name) })
}

func nodeAt(snap client.Snapshot, a netip.Addr) string {
	return firstNode(snap, func(address string) bool {
		addr, err := netip.ParseAddr(address)
		return err == nil && addr.Unmap().WithZone("") == a
	})
}

// firstNode is the oldest node with an address of which is says yes. A node writes its own addresses, so a later one that claims what another has neither gets it nor
// takes it away.
func firstNode(snap client.Snapshot, is func(address string) bool) string {
	var first *corev1.Node
	for n := range client.List[*corev1.Node](snap, "") {
		if !slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return is(a.Address) }) {
			continue
		}
		if first == nil || n.CreationTimestamp.Before(&first.CreationTimestamp) || n.CreationTimestamp.Equal(&first.CreationTimestamp) && n.Name < first.Name {
			first = n
		}
	}
	if first == nil {
		return ""
	}
	return first.Name
}

// checkServing holds a signing request for a kubelet's serving certificate to what joining holds it to.
func (s *Server) checkServing(node string, names []string, addresses []net.IP) error {
	reserved := s.reserved()
	for _, name := range append([]string{node}, names...) {
		if name == "localhost" {
			continue // what a kubelet is called on its own machine
		}
		if err := reserved.CheckName(node, name); err != nil {
			return err
		}
	}
	for _, ip := range addresses {
		a, ok := netip.AddrFromSlice(ip)
		if !ok || a.Unmap().IsLoopback() {
			continue
		}
		if err := reserved.CheckAddress(node, a); err != nil {
			return err
		}
	}
	return nil
}
