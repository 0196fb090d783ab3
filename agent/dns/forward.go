package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	// tryFor is how long one server may take; twice as long in the second round.
	tryFor = 1500 * time.Millisecond
	// giveUp is a bit less than the five seconds after which resolvers ask again.
	giveUp = 4500 * time.Millisecond
	// inFlight bounds the questions that wait for upstream servers.
	inFlight = 512
	// waiters bounds all who wait, also for another's question.
	waiters = 4096
	// udpSize that is said to upstream servers and clients: fits any path unfragmented (DNS flag day 2020).
	udpSize = 1232
	// plainFor is how long a server that did not understand EDNS is asked without it.
	plainFor = 10 * time.Minute
)

var (
	errBusy      = errors.New("too many questions wait for upstream servers")
	errNoServers = errors.New("this node has no upstream DNS server")
)

// forwarder asks upstream servers.
type forwarder struct {
	upstreams *upstreams
	stubs     []Stub // the longest domain first
	cache     *cache
	now       func() time.Time
	waiting   atomic.Int32

	mu      sync.Mutex
	flights map[flight]*result
	// good is the server that answered last, by stub domain ("" for all other names).
	good map[string]netip.AddrPort
	// plain are servers that do not understand EDNS, and until when that is believed.
	plain map[netip.AddrPort]time.Time
}

func newForwarder(up *upstreams, stubs []Stub, now func() time.Time) *forwarder {
	stubs = slices.Clone(stubs)
	slices.SortStableFunc(stubs, func(a, b Stub) int { return len(b.Domain) - len(a.Domain) })
	return &forwarder{upstreams: up, stubs: stubs, cache: newCache(now), now: now, flights: map[flight]*result{},
		good: map[string]netip.AddrPort{}, plain: map[netip.AddrPort]time.Time{}}
}

// serversFor says who is asked for a name (in lower case): the one that answered last comes first.
func (f *forwarder) serversFor(name string) (domain string, servers []netip.AddrPort) {
	for _, stub := range f.stubs {
		if name == stub.Domain || strings.HasSuffix(name, "."+stub.Domain) {
			domain, servers = stub.Domain, stub.Servers
			break
		}
	}
	if domain == "" {
		servers = f.upstreams.list()
	}
	f.mu.Lock()
	good := f.good[domain]
	f.mu.Unlock()
	if i := slices.Index(servers, good); i > 0 {
		servers = slices.Concat(servers[i:], servers[:i])
	}
	return domain, servers
}

// flight: two who ask the same at the same time share one question; so a loop through another server ends.
type flight struct {
	question
	tcp bool
}

type result struct {
	done chan struct{}
	msg  *dns.Msg
	err  error
}

// ask returns an answer for r's question, from the cache or from upstream. The message is the caller's.
func (f *forwarder) ask(ctx context.Context, r *dns.Msg, tcp bool) (*dns.Msg, error) {
	q := question{name: strings.ToLower(r.Question[0].Name), kind: r.Question[0].Qtype, class: r.Question[0].Qclass, cd: r.CheckingDisabled}
	if opt := r.IsEdns0(); opt != nil {
		q.edns, q.do = true, opt.Do()
	}
	if msg := f.cache.get(q); msg != nil {
		return msg, nil
	}
	if f.waiting.Add(1) > waiters {
		f.waiting.Add(-1)
		return nil, errBusy
	}
	defer f.waiting.Add(-1)
	key := flight{q, tcp}
	f.mu.Lock()
	res, joined := f.flights[key]
	if !joined {
		if len(f.flights) >= inFlight {
			f.mu.Unlock()
			return nil, errBusy
		}
		res = &result{done: make(chan struct{})}
		f.flights[key] = res
	}
	f.mu.Unlock()
	if !joined {
		res.msg, res.err = f.exchange(ctx, q, r.RecursionDesired, tcp)
		if res.err == nil {
			f.cache.put(q, res.msg)
		}
		f.mu.Lock()
		delete(f.flights, key)
		f.mu.Unlock()
		close(res.done)
	}
	select {
	case <-res.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if res.err != nil {
		return nil, res.err
	}
	return res.msg.Copy(), nil
}

// exchange tries all servers, twice.
func (f *forwarder) exchange(ctx context.Context, q question, recurse, tcp bool) (*dns.Msg, error) {
	domain, servers := f.serversFor(q.name)
	if len(servers) == 0 {
		return nil, errNoServers
	}
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	m := &dns.Msg{Question: []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: q.class}}}
	m.RecursionDesired, m.CheckingDisabled = recurse, q.cd
	var failed error
	var lame *dns.Msg
	for attempt := range 2 * len(servers) {
		server, again := servers[attempt%len(servers)], attempt >= len(servers)
		wait := tryFor
		if again {
			wait *= 2
		}
		answer, err := f.askOne(ctx, m, q, server, tcp, again, wait)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ask upstream DNS for %s: %w", q.name, errors.Join(ctx.Err(), failed))
		case err != nil:
			failed = err
			continue
		case isLame(answer):
			lame = answer // the next one may know better
			if attempt >= len(servers)-1 {
				return lame, nil
			}
			continue
		}
		f.mu.Lock()
		f.good[domain] = server
		f.mu.Unlock()
		return answer, nil
	}
	if lame != nil {
		return lame, nil
	}
	return nil, fmt.Errorf("ask upstream DNS for %s: %w", q.name, failed)
}

func isLame(m *dns.Msg) bool {
	switch m.Rcode {
	case dns.RcodeServerFailure, dns.RcodeRefused, dns.RcodeNotImplemented, dns.RcodeFormatError, dns.RcodeBadVers:
		return true
	}
	return false
}

// askOne asks one server: with EDNS if the client used it and the server understands it (RFC 6891, 6.2.2 and 7), and over UDP after
// all if there is nobody on its TCP port. again says that the server was silent before; it may be EDNS that it does not like.
func (f *forwarder) askOne(ctx context.Context, m *dns.Msg, q question, server netip.AddrPort, tcp, again bool, wait time.Duration) (*dns.Msg, error) {
	try := func(edns bool) (*dns.Msg, error) {
		m := m.Copy()
		if edns {
			m.SetEdns0(udpSize, q.do)
		}
		answer, err := exchange(ctx, m, server, tcp, wait)
		if err != nil && tcp && ctx.Err() == nil {
			if over, udpErr := exchange(ctx, m, server, false, wait); udpErr == nil && !over.Truncated {
				return over, nil
			}
		}
		return answer, err
	}
	edns := q.edns && !again && !f.isPlain(server)
	answer, err := try(edns)
	if edns && err == nil && (answer.Rcode == dns.RcodeFormatError || answer.Rcode == dns.RcodeNotImplemented || answer.Rcode == dns.RcodeBadVers) {
		again = true
		answer, err = try(false)
	}
	if q.edns && again && err == nil && !isLame(answer) {
		f.mu.Lock()
		f.plain[server] = f.now().Add(plainFor)
		f.mu.Unlock()
	}
	return answer, err
}

// isPlain tells whether a server is known not to understand EDNS.
func (f *forwarder) isPlain(server netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	until, known := f.plain[server]
	if known && !f.now().Before(until) {
		delete(f.plain, server)
		return false
	}
	return known
}
