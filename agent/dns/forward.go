package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
)

var (
	errBusy      = errors.New("too many questions wait for upstream servers")
	errNoServers = errors.New("this node has no upstream DNS server")
)

// forwarder asks upstream servers.
type forwarder struct {
	upstreams *upstreams
	cache     *cache
	// good is the index of the server that answered last.
	good    atomic.Uint32
	waiting atomic.Int32

	mu      sync.Mutex
	flights map[flight]*result
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
		q.do = opt.Do()
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
	servers := f.upstreams.list()
	if len(servers) == 0 {
		return nil, errNoServers
	}
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	m := &dns.Msg{Question: []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: q.class}}}
	m.RecursionDesired, m.CheckingDisabled = recurse, q.cd
	m.SetEdns0(udpSize, q.do)
	first := int(f.good.Load())
	var failed error
	var lame *dns.Msg
	for attempt := range 2 * len(servers) {
		i := (first + attempt) % len(servers)
		wait := tryFor
		if attempt >= len(servers) {
			wait *= 2
		}
		answer, err := exchangeOnce(ctx, m, servers[i], tcp, wait)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ask upstream DNS for %s: %w", q.name, errors.Join(ctx.Err(), failed))
		case err != nil:
			failed = err
			continue
		case answer.Rcode == dns.RcodeServerFailure || answer.Rcode == dns.RcodeRefused || answer.Rcode == dns.RcodeNotImplemented:
			lame = answer // the next one may know better
			if attempt >= len(servers)-1 {
				return lame, nil
			}
			continue
		}
		f.good.Store(uint32(i))
		return answer, nil
	}
	if lame != nil {
		return lame, nil
	}
	return nil, fmt.Errorf("ask upstream DNS for %s: %w", q.name, failed)
}

// exchangeOnce uses a fresh socket, and so a fresh source port, for each question.
func exchangeOnce(ctx context.Context, m *dns.Msg, server netip.AddrPort, tcp bool, wait time.Duration) (*dns.Msg, error) {
	m = m.Copy()
	m.Id = dns.Id()
	client := &dns.Client{Net: "udp", Timeout: wait, UDPSize: udpSize}
	if tcp {
		client.Net = "tcp"
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	answer, _, err := client.ExchangeContext(ctx, m, server.String())
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", server, err)
	}
	if !answer.Response || len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, m.Question[0].Name) ||
		answer.Question[0].Qtype != m.Question[0].Qtype {
		return nil, fmt.Errorf("server %s answered another question", server)
	}
	return answer, nil
}
