package dns

import (
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	cacheEntries = 4096
	cacheBytes   = 2 << 20
	cacheLongest = 30 * time.Minute
	// negativeLongest bounds how long "there is no such name" is believed.
	negativeLongest = 30 * time.Second
)

// question names an upstream answer.
type question struct {
	name  string // lower case
	kind  uint16
	class uint16
	// do and cd are the DNSSEC bits, which change the answer; edns says that the client used EDNS, and so may we.
	do, cd, edns bool
}

// cache keeps upstream answers for as long as their records allow.
type cache struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[question]cached
	bytes   int
}

type cached struct {
	msg          *dns.Msg // never changed
	size         int
	stored, ends time.Time
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, entries: map[question]cached{}}
}

// get returns a copy with what is left of the TTLs.
func (c *cache) get(q question) *dns.Msg {
	c.mu.Lock()
	e, ok := c.entries[q]
	now := c.now()
	if ok && !now.Before(e.ends) {
		c.drop(q)
		ok = false
	}
	c.mu.Unlock()
	if !ok {
		return nil
	}
	age := uint32(now.Sub(e.stored) / time.Second)
	msg := e.msg.Copy()
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return msg
}

// put keeps an answer if it may be kept.
func (c *cache) put(q question, msg *dns.Msg) {
	life := lifetime(msg)
	if life <= 0 {
		return
	}
	size := msg.Len() + len(q.name)
	if size > cacheBytes/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(q)
	for other := range c.entries { // the map's order is as good as random
		if len(c.entries) < cacheEntries && c.bytes+size <= cacheBytes {
			break
		}
		c.drop(other)
	}
	now := c.now()
	c.entries[q] = cached{msg.Copy(), size, now, now.Add(life)}
	c.bytes += size
}

func (c *cache) drop(q question) {
	if e, ok := c.entries[q]; ok {
		c.bytes -= e.size
		delete(c.entries, q)
	}
}

// lifetime is the shortest TTL; for a negative answer the SOA's (RFC 2308); 0 for what must not be kept.
func lifetime(msg *dns.Msg) time.Duration {
	if msg.Truncated || msg.Rcode != dns.RcodeSuccess && msg.Rcode != dns.RcodeNameError {
		return 0
	}
	shortest := cacheLongest
	if len(msg.Answer) == 0 || msg.Rcode == dns.RcodeNameError {
		found := false
		for _, rr := range msg.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				found = true
				shortest = min(negativeLongest, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
			}
		}
		if !found {
			return 0
		}
	}
	for _, section := range [][]dns.RR{msg.Answer, msg.Ns, msg.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				shortest = min(shortest, time.Duration(h.Ttl)*time.Second)
			}
		}
	}
	return shortest
}
