package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Stub is a domain whose names are asked of servers of its own.
type Stub struct {
	// Domain is fully qualified and in lower case, e.g. "corp.example.com.".
	Domain  string
	Servers []netip.AddrPort
}

// ParseServers reads addresses of DNS servers, with or without a port: 10.0.0.53, 10.0.0.53:5353, [fd00::53]:5353.
func ParseServers(list []string) (servers []netip.AddrPort, err error) {
	for _, text := range list {
		server, err := netip.ParseAddrPort(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return nil, fmt.Errorf("%q is neither an address nor address:port", text)
			}
			server = netip.AddrPortFrom(addr, 53)
		}
		if addr := server.Addr(); addr.IsUnspecified() || addr.IsMulticast() || server.Port() == 0 {
			return nil, fmt.Errorf("%q is no address of a server", text)
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// ParseStub reads "domain=server[,server…]".
func ParseStub(text string) (Stub, error) {
	domain, list, ok := strings.Cut(text, "=")
	if !ok || list == "" {
		return Stub{}, fmt.Errorf("%q is not of the form domain=server[,server]", text)
	}
	domain = dns.Fqdn(strings.ToLower(domain))
	if _, valid := dns.IsDomainName(domain); !valid || domain == "." || strings.ContainsAny(domain, " \t") {
		return Stub{}, fmt.Errorf("%q is no domain", domain)
	}
	servers, err := ParseServers(strings.Split(list, ","))
	return Stub{Domain: domain, Servers: servers}, err
}

// checkForwarding refuses what would never be asked, or lead back here.
func checkForwarding(cfg Config, suffix string) error {
	seen := map[string]bool{}
	for _, stub := range cfg.Stubs {
		switch {
		case len(stub.Servers) == 0:
			return fmt.Errorf("dns: stub domain %s has no server", stub.Domain)
		case seen[stub.Domain]:
			return fmt.Errorf("dns: stub domain %s is given twice", stub.Domain)
		case strings.HasSuffix("."+stub.Domain, suffix):
			return fmt.Errorf("dns: stub domain %s is the cluster's own", stub.Domain)
		}
		seen[stub.Domain] = true
	}
	all := slices.Clone(cfg.Upstreams)
	for _, stub := range cfg.Stubs {
		all = append(all, stub.Servers...)
	}
	for _, server := range all {
		if slices.Contains(cfg.Addrs, server.Addr()) && server.Port() == cfg.Port {
			return errors.New("dns: server " + server.String() + " is the cluster DNS itself")
		}
	}
	return nil
}
