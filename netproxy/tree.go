package netproxy

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// leaf is a rule that applies to one key: an address, or a port.
type leaf struct {
	protocol string // of ports
	key      []byte
	rule     string
}

// fanOut is how many rules a chain of the tree holds at most, unless one key has more.
const fanOut = 16

// tree puts leaves into chains by the prefixes of their keys. The chains depend on the leaves alone, not on their order
// or history; a leaf that comes or goes changes one chain, seldom two or three.
type tree struct {
	// chain names the chain of a prefix, match selects the packets of it.
	chain func(key []byte, bits int) string
	match func(key []byte, bits int) string
	out   map[string][]string
}

// build returns the rules for root and fills out with the chains below it.
func (t tree) build(leaves []leaf) (root []string) {
	sorted := slices.Clone(leaves)
	slices.SortFunc(sorted, func(a, b leaf) int {
		return cmp.Or(bytes.Compare(a.key, b.key), strings.Compare(a.rule, b.rule))
	})
	sorted = slices.CompactFunc(sorted, func(a, b leaf) bool { return a.rule == b.rule && bytes.Equal(a.key, b.key) })
	return t.rules(sorted)
}

func (t tree) rules(leaves []leaf) (rules []string) {
	common := 0
	if n := len(leaves); n > fanOut {
		common = commonBits(leaves[0].key, leaves[n-1].key)
	}
	if len(leaves) <= fanOut || common == len(leaves[0].key)*8 {
		for _, l := range leaves {
			rules = append(rules, l.rule)
		}
		return rules
	}
	// The next four bits after what all have in common, on a boundary of four, tell the groups apart.
	bits := common/4*4 + 4
	for len(leaves) > 0 {
		n := 1
		for n < len(leaves) && commonBits(leaves[0].key, leaves[n].key) >= bits {
			n++
		}
		group := leaves[:n]
		leaves = leaves[n:]
		if n == 1 {
			rules = append(rules, group[0].rule)
			continue
		}
		name := t.chain(group[0].key, bits)
		t.out[name] = t.rules(group)
		rules = append(rules, t.match(group[0].key, bits)+" -j "+name)
	}
	return rules
}

// commonBits is how many leading bits two keys share.
func commonBits(a, b []byte) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			n := 0
			for ; x&0x80 == 0; x <<= 1 {
				n++
			}
			return i*8 + n
		}
	}
	return len(a) * 8
}

// masked keeps the first bits of a key.
func masked(key []byte, bits int) []byte {
	out := make([]byte, len(key))
	for i := range out {
		switch left := bits - i*8; {
		case left >= 8:
			out[i] = key[i]
		case left > 0:
			out[i] = key[i] & (0xff << (8 - left))
		}
	}
	return out
}

// addressTree dispatches on the destination ("-d") or the source ("-s").
func addressTree(kind, option string, out map[string][]string) tree {
	return tree{
		out: out,
		chain: func(key []byte, bits int) string {
			text := hex.EncodeToString(masked(key, bits))
			if len(key) > 4 { // too long for a chain's name
				return hashed(kind, text, strconv.Itoa(bits))
			}
			return fmt.Sprintf("%s%s-%s-%d", chainPrefix, kind, text, bits)
		},
		match: func(key []byte, bits int) string {
			addr, _ := netip.AddrFromSlice(masked(key, bits))
			return option + " " + netip.PrefixFrom(addr, bits).String()
		},
	}
}

// portTree dispatches on the destination port.
func portTree(protocol string, out map[string][]string) tree {
	return tree{
		out: out,
		chain: func(key []byte, bits int) string {
			return fmt.Sprintf("%s%s-%s-%d", chainPrefix, strings.ToUpper(protocol), hex.EncodeToString(masked(key, bits)), bits)
		},
		match: func(key []byte, bits int) string {
			first := masked(key, bits)
			low := int(first[0])<<8 | int(first[1])
			return fmt.Sprintf("-p %s -m %s --dport %d:%d", protocol, protocol, low, low|(1<<(16-bits)-1))
		},
	}
}
