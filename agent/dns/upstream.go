package dns

import (
	"bufio"
	"bytes"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// lookAgain is how often, at most, the file is looked at; only when somebody asks.
const lookAgain = 5 * time.Second

// upstreams are the servers that other names are forwarded to: the configured ones, or those of a resolv.conf, which is
// read again when it changed.
type upstreams struct {
	fixed []netip.AddrPort
	path  string
	// own are addresses that would lead back here.
	own map[netip.Addr]bool
	now func() time.Time

	mu      sync.Mutex
	looked  time.Time
	changed time.Time
	servers []netip.AddrPort
}

// list returns the servers in the order they are to be tried.
func (u *upstreams) list() []netip.AddrPort {
	if len(u.fixed) > 0 {
		return u.fixed
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	if !u.looked.IsZero() && now.Sub(u.looked) < lookAgain {
		return u.servers
	}
	u.looked = now
	info, err := os.Stat(u.path)
	if err != nil || info.ModTime().Equal(u.changed) {
		return u.servers
	}
	text, err := os.ReadFile(u.path)
	if err != nil {
		return u.servers
	}
	u.changed, u.servers = info.ModTime(), u.without(parseResolvConf(text))
	return u.servers
}

func (u *upstreams) without(list []netip.AddrPort) (out []netip.AddrPort) {
	for _, s := range list {
		if !u.own[s.Addr()] {
			out = append(out, s)
		}
	}
	return out
}

// parseResolvConf reads the nameserver lines.
func parseResolvConf(text []byte) (servers []netip.AddrPort) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if ip, err := netip.ParseAddr(f[1]); err == nil && !ip.IsUnspecified() && !ip.IsMulticast() {
			servers = append(servers, netip.AddrPortFrom(ip, 53))
		}
	}
	return servers
}
