package dns

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// udpRoom is the longest UDP answer that is read whole; what is longer counts as truncated.
const udpRoom = 4096

// exchange asks one server once. It uses a fresh socket, and so a fresh source port, for each question.
func exchange(ctx context.Context, m *dns.Msg, server netip.AddrPort, tcp bool, wait time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	m = m.Copy()
	m.Id = dns.Id()
	var answer *dns.Msg
	var err error
	if tcp {
		answer, _, err = (&dns.Client{Net: "tcp", Timeout: wait}).ExchangeContext(ctx, m, server.String())
		if err == nil && !answers(answer, m) {
			err = fmt.Errorf("it answered another question")
		}
	} else {
		answer, err = exchangeUDP(ctx, m, server)
	}
	if err != nil {
		return nil, fmt.Errorf("server %s: %w", server, err)
	}
	return answer, nil
}

// exchangeUDP passes over what is no answer to m: anybody can send that.
func exchangeUDP(ctx context.Context, m *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, udpRoom)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answer := parseUDP(buf[:n]); answer != nil && answers(answer, m) {
			return answer, nil
		}
	}
}

// parseUDP reads an answer. One that breaks off in the middle, for want of room here or on its way, is what TC would have said: cut
// off, so that the client asks again over TCP. It is nil when not even the question can be read.
func parseUDP(wire []byte) *dns.Msg {
	whole := new(dns.Msg)
	if whole.Unpack(wire) == nil {
		return whole
	}
	const header = 12
	if len(wire) < header || binary.BigEndian.Uint16(wire[4:]) != 1 {
		return nil
	}
	head := append([]byte(nil), wire...)
	clear(head[6:header]) // no records
	m := new(dns.Msg)
	if m.Unpack(head) != nil {
		return nil
	}
	m.Truncated = true
	return m
}

// answers tells whether a is the answer to m. Some servers leave the question out when they understand nothing.
func answers(a, m *dns.Msg) bool {
	if !a.Response || a.Id != m.Id {
		return false
	}
	if len(a.Question) == 0 {
		return a.Rcode != dns.RcodeSuccess && a.Rcode != dns.RcodeNameError
	}
	return len(a.Question) == 1 && strings.EqualFold(a.Question[0].Name, m.Question[0].Name) && a.Question[0].Qtype == m.Question[0].Qtype
}
