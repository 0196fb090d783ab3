package podnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"codeberg.org/skiff/skiff/internal/iptables"
)

// setupSysctls turns forwarding on and what would bypass it off.
func (n *Network) setupSysctls(cidrs []netip.Prefix) error {
	bridge := n.cfg.Bridge
	settings := [][2]string{
		{"net/ipv4/ip_forward", "1"},
		// A redirect would tell one pod to talk to its neighbour directly. The kernel sends them if either of the two says so.
		{"net/ipv4/conf/all/send_redirects", "0"},
		{"net/ipv4/conf/" + bridge + "/send_redirects", "0"},
		// A pod cannot send from an address that is not routed to the bridge.
		{"net/ipv4/conf/" + bridge + "/rp_filter", "1"},
	}
	if hasFamily(cidrs, iptables.IPv6) {
		settings = append(settings, [2]string{"net/ipv6/conf/all/forwarding", "1"})
	} else {
		settings = append(settings, [2]string{"net/ipv6/conf/" + bridge + "/disable_ipv6", "1"})
	}
	for _, s := range settings {
		err := writeSysctl(s[0], s[1])
		if errors.Is(err, os.ErrNotExist) && strings.Contains(s[0], "disable_ipv6") {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("prepare the kernel for the pod network: %w", err)
		}
	}
	return nil
}

// writeSysctl writes only what differs, so that it works where /proc/sys is read-only but right already.
func writeSysctl(key, value string) error {
	path := filepath.Join("/proc/sys", key)
	have, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(have)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", strings.ReplaceAll(key, "/", "."), value, err)
	}
	return nil
}

func hasFamily(cidrs []netip.Prefix, family iptables.Family) bool {
	for _, cidr := range cidrs {
		if cidr.Addr().Is4() == (family == iptables.IPv4) {
			return true
		}
	}
	return false
}
