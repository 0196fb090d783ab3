package nodeaddr

import (
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"codeberg.org/skiff/skiff/internal/netnstest"
)

func TestDecide(t *testing.T) {
	at := func(list ...string) (out []netip.Addr) {
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for name, c := range map[string]struct {
		have, present, candidates []netip.Addr
		route                     string
		want                      []netip.Addr
	}{
		"it is there":                       {at("192.0.2.1"), at("192.0.2.1", "10.8.0.2"), at("192.0.2.1", "10.8.0.2"), "10.8.0.2", at("192.0.2.1")},
		"another by the default route":      {at("192.0.2.1"), at("192.0.2.7", "10.0.0.5"), at("10.0.0.5", "192.0.2.7"), "192.0.2.7", at("192.0.2.7")},
		"another without default route":     {at("192.0.2.1"), at("192.0.2.7"), at("192.0.2.7"), "", at("192.0.2.7")},
		"none for now":                      {at("192.0.2.1"), at("10.42.0.1"), nil, "", at("192.0.2.1")},
		"one family of two changes":         {at("192.0.2.1", "2001:db8::1"), at("192.0.2.7", "2001:db8::1"), at("192.0.2.7", "2001:db8::1"), "192.0.2.7", at("192.0.2.7", "2001:db8::1")},
		"the route's family is another":     {at("192.0.2.1", "2001:db8::1"), at("192.0.2.1", "2001:db8::2"), at("192.0.2.1", "2001:db8::2"), "192.0.2.1", at("192.0.2.1", "2001:db8::2")},
		"the machine has IPv6 only, by now": {at("192.0.2.1"), at("2001:db8::1"), at("2001:db8::1"), "2001:db8::1", at("2001:db8::1")},
	} {
		present := map[netip.Addr]bool{}
		for _, a := range c.present {
			present[a] = true
		}
		var route netip.Addr
		if c.route != "" {
			route = netip.MustParseAddr(c.route)
		}
		if got := decide(c.have, present, c.candidates, route); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
}

func TestAChangedAddressIsFollowed(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	ip := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatal(args, err, string(out))
		}
	}
	ip("link", "add", "up0", "type", "veth", "peer", "name", "up1")
	ip("link", "set", "up1", "up")
	ip("link", "set", "up0", "up")
	ip("addr", "add", "198.51.100.2/24", "dev", "up0")
	ip("route", "add", "default", "via", "198.51.100.1")
	a, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan bool, 100)
	defer a.OnEvent(func(changed bool) { events <- changed })()
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { a.Run(ctx) })
	defer run.Wait()
	defer cancel()
	become := func(want string) {
		t.Helper()
		for {
			select {
			case <-events:
			case <-time.After(time.Minute):
				t.Fatalf("a minute later: %v; want %s", a.List(), want)
			}
			if list := a.List(); len(list) == 1 && list[0].String() == want {
				return
			}
		}
	}
	become("198.51.100.2")
	ip("addr", "add", "203.0.113.5/24", "dev", "up0")
	ip("addr", "del", "198.51.100.2/24", "dev", "up0")
	become("203.0.113.5")
	ip("addr", "flush", "dev", "up0")
	ip("addr", "add", "198.51.100.9/24", "dev", "up0")
	ip("route", "add", "default", "via", "198.51.100.1")
	become("198.51.100.9")
}
