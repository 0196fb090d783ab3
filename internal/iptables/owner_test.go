package iptables

import (
	"context"
	"encoding/binary"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/internal/netnstest"
)

func sets() (services, network Set) {
	return Set{Chains: map[Chain][]string{{NAT, Services + "A"}: {"-d 10.0.0.1/32 -j ACCEPT"}, {Filter, Services + "F"}: {"-j RETURN"}},
			Jumps: []Jump{{Table: NAT, From: "POSTROUTING", To: Services + "A"}, {Table: Filter, From: "FORWARD", To: Services + "F"}}},
		Set{Chains: map[Chain][]string{{Filter, Network + "F"}: {"-d 10.0.0.1/32 -j ACCEPT", "-d 10.0.0.2/32 -j ACCEPT"}},
			Jumps: []Jump{{Table: Filter, From: "FORWARD", To: Network + "F"}}}
}

// Whoever writes first and whoever comes back: Services' jump stands before the network's, and both before other people's rules.
func TestJumpsKeepTheirOrder(t *testing.T) {
	ctx := context.Background()
	services, network := sets()
	k := &kernel{chains: map[Chain][]string{{NAT, "POSTROUTING"}: nil, {Filter, "FORWARD"}: {"-j DROP"}}}
	for _, order := range []string{"sn", "ns", "n", "s", "nsn"} {
		for _, who := range order {
			w, set := NewWriter(Host{Run: k.run}, Services), services
			if who == 'n' {
				w, set = NewWriter(Host{Run: k.run}, Network), network
			}
			if _, err := w.Apply(ctx, set); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(k.chains[Chain{Filter, "FORWARD"}], "; "); got != "-j "+Services+"F; -j "+Network+"F; -j DROP" {
			t.Errorf("after %s: %s", order, got)
		}
	}
}

// TestFlushedRulesComeBack does what firewalls do when they reload, with each backend of this machine.
func TestFlushedRulesComeBack(t *testing.T) {
	if !netnstest.Enter(t) {
		return
	}
	for _, variant := range []string{"iptables-nft", "iptables-legacy"} {
		if _, err := exec.LookPath(variant); err != nil {
			t.Log(err)
			continue
		}
		o := NewOwner(nil)
		ctx, cancel := context.WithCancel(context.Background())
		var run sync.WaitGroup
		run.Go(func() { o.Run(ctx) })
		services, network := sets()
		for prefix, set := range map[string]Set{Network: network, Services: services} {
			w := o.Writer(IPv4, prefix)
			w.host.variant, w.host.legacy = variant, strings.Contains(variant, "legacy")
			if _, err := w.Apply(ctx, set); err != nil {
				t.Fatal(err)
			}
		}
		want := text4(t, variant)
		for _, flush := range []string{"-F FORWARD", "-t nat -F POSTROUTING", "-F", "-F " + Network + "F", "-D FORWARD -j " + Services + "F", "-t nat -F"} {
			if out, err := exec.Command(variant, strings.Fields(flush)...).CombinedOutput(); err != nil {
				t.Fatal(err, string(out))
			}
			if strings.Contains(flush, Network) && strings.Contains(variant, "legacy") {
				exec.Command(variant, "-F", "FORWARD").Run() // a chain of ours alone is not looked at there
			}
			deadline := time.Now().Add(time.Minute)
			for got := text4(t, variant); got != want; got = text4(t, variant) {
				if time.Now().After(deadline) {
					t.Fatalf("%s %s: a minute later the kernel has\n%s\nwant\n%s", variant, flush, got, want)
				}
			}
		}
		cancel()
		run.Wait()
		for _, table := range []string{"nat", "filter"} {
			exec.Command(variant, "-t", table, "-F").Run()
			exec.Command(variant, "-t", table, "-X").Run()
		}
	}
}

// text4 is what iptables-save tells of our chains and jumps.
func text4(t *testing.T, variant string) string {
	out, err := exec.Command(variant + "-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "SKIFF") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func message(kind int, family byte, attrs ...[]byte) []byte {
	body := []byte{family, 0, 0, 0}
	for _, a := range attrs {
		body = append(body, a...)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.NFNL_SUBSYS_NFTABLES<<8|kind))
	return append(append(b, make([]byte, 10)...), body...)
}

func TestDecodeTransactions(t *testing.T) {
	name := func(s string) []byte { return append([]byte(s), 0) }
	rule := message(unix.NFT_MSG_DELRULE, unix.NFPROTO_IPV4, attr(1, name("filter")), attr(2, name("FORWARD")), attr(3, make([]byte, 8)))
	inet := message(unix.NFT_MSG_DELRULE, unix.NFPROTO_INET, attr(1, name("firewalld")), attr(2, name("filter_FORWARD")))
	table := message(unix.NFT_MSG_DELTABLE, unix.NFPROTO_IPV6, attr(1, name("nat")))
	end := message(unix.NFT_MSG_NEWGEN, 0, attr(1, []byte{0, 0, 0, 1}), attr(2, []byte{0, 0, 1, 2}), attr(3, name("nft")))
	var d decoder
	if got := d.decode(append(append([]byte{}, inet...), end...)); len(got) != 0 {
		t.Errorf("another tool's own table: %+v", got)
	}
	if got := d.decode(append(append([]byte{}, rule...), rule...)); len(got) != 0 {
		t.Errorf("before its end: %+v", got)
	}
	got := d.decode(append(append([]byte{}, table...), end...))
	if len(got) != 1 || got[0].pid != 258 || got[0].process != "nft" || len(got[0].touched) != 2 ||
		got[0].touched[0] != (touch{IPv4, Chain{Filter, "FORWARD"}}) || got[0].touched[1] != (touch{IPv6, Chain{NAT, ""}}) {
		t.Errorf("got %+v", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(message(unix.NFT_MSG_DELRULE, unix.NFPROTO_IPV4, attr(1, []byte("nat")), attr(2, []byte("x"))))
	f.Fuzz(func(t *testing.T, b []byte) { (&decoder{}).decode(b) })
}
