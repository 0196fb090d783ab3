package join

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"codeberg.org/skiff/skiff/internal/joinapi"
)

// Reserved says which names and addresses are somebody's, so that no node gets a certificate for them: whoever trusts the authority of
// the nodes' serving certificates would take that node for the other. It decides from what its functions answer now, and keeps nothing.
type Reserved struct {
	// ServerNames and ServerAddresses are all by which this server is reached.
	ServerNames     func() []string
	ServerAddresses func() []netip.Addr
	// Servers are the host:port of all API servers of the cluster.
	Servers func() []string
	// ServiceCIDRs are where Services have their addresses; ClusterDomain is where they have their names.
	ServiceCIDRs  func() []string
	ClusterDomain string
	// ServiceExists reports whether there is a Service.
	ServiceExists func(namespace, name string) bool
	// NodeNamed is the node that has a name as its own or among its addresses, NodeAt the one that has an address; "" if none has.
	NodeNamed func(name string) string
	NodeAt    func(netip.Addr) string
}

// CheckName says why a node may not have a DNS name in its certificate; nil if it may.
func (r *Reserved) CheckName(node, name string) error {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if strings.Contains(name, "*") {
		return fmt.Errorf("%q stands for many names", name)
	}
	if name == joinapi.ServerName || strings.HasPrefix(name, joinapi.ServerName+".") {
		return fmt.Errorf("%q is a name of the API server", name)
	}
	if r.ServerNames != nil && slices.ContainsFunc(r.ServerNames(), func(s string) bool { return covers(s, name) }) {
		return fmt.Errorf("%q is a name of the API server", name)
	}
	if r.Servers != nil {
		for _, s := range r.Servers() {
			if host, _, ok := cutPort(s); ok && strings.EqualFold(host, name) {
				return fmt.Errorf("%q is a name of the API server %s", name, s)
			}
		}
	}
	if err := r.checkServiceName(name); err != nil {
		return err
	}
	if r.NodeNamed != nil {
		if owner := r.NodeNamed(name); owner != "" && owner != node {
			return fmt.Errorf("%q is a name of node %s", name, owner)
		}
	}
	return nil
}

// checkServiceName refuses what the cluster's DNS answers, in its long forms, and a Service's short one.
func (r *Reserved) checkServiceName(name string) error {
	domain := strings.ToLower(strings.Trim(r.ClusterDomain, "."))
	if strings.HasSuffix(name, ".svc") || name == "svc" || domain != "" && (name == domain || strings.HasSuffix(name, "."+domain)) {
		return fmt.Errorf("%q is in the cluster's own domain", name)
	}
	if service, namespace, ok := strings.Cut(name, "."); ok && r.ServiceExists != nil && r.ServiceExists(namespace, service) {
		return fmt.Errorf("%q is a name of Service %s in namespace %s", name, service, namespace)
	}
	return nil
}

// CheckAddress says why a node may not have an address in its certificate; nil if it may.
func (r *Reserved) CheckAddress(node string, a netip.Addr) error {
	if a.Zone() != "" {
		return fmt.Errorf("address %s has a zone", a)
	}
	a = a.Unmap()
	if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%s is no address of a node", a)
	}
	for _, cidr := range r.serviceRanges() {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(a) {
			return fmt.Errorf("address %s belongs to the service range %s", a, cidr)
		}
	}
	if r.ServerAddresses != nil && slices.ContainsFunc(r.ServerAddresses(), func(s netip.Addr) bool { return s.Unmap().WithZone("") == a }) {
		return fmt.Errorf("address %s belongs to the API server", a)
	}
	if r.Servers != nil {
		for _, s := range r.Servers() {
			if host, _, ok := cutPort(s); ok {
				if have, err := netip.ParseAddr(host); err == nil && have.Unmap().WithZone("") == a {
					return fmt.Errorf("address %s belongs to the API server %s", a, s)
				}
			}
		}
	}
	if r.NodeAt != nil {
		if owner := r.NodeAt(a); owner != "" && owner != node {
			return fmt.Errorf("address %s belongs to node %s", a, owner)
		}
	}
	return nil
}

// covers tells whether a name of a certificate, which may begin with a wildcard, is good for another.
func covers(pattern, name string) bool {
	pattern = strings.ToLower(strings.TrimSuffix(pattern, "."))
	if rest, wild := strings.CutPrefix(pattern, "*."); wild {
		_, domain, ok := strings.Cut(name, ".")
		return ok && domain == rest
	}
	return pattern == name
}

func cutPort(hostport string) (host, port string, ok bool) {
	i := strings.LastIndexByte(hostport, ':')
	if i < 0 {
		return "", "", false
	}
	return strings.Trim(hostport[:i], "[]"), hostport[i+1:], true
}

func (r *Reserved) serviceRanges() []string {
	if r.ServiceCIDRs == nil {
		return nil
	}
	return r.ServiceCIDRs()
}
