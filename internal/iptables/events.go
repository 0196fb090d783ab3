package iptables

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// change is one transaction that the kernel's nf_tables told of.
type change struct {
	pid     int
	process string
	touched []touch
}

// touch is where rules were removed: a chain; a whole table when chain is ""; unknown places when family is 0.
type touch struct {
	family Family
	chain  Chain
}

// nested says that process ids in events are not those that we see: we run in a pid namespace of our own.
var nested = func() bool {
	const initialPIDNamespace = 0xEFFFFFFC // PROC_PID_INIT_INO, linux/proc_ns.h
	var st unix.Stat_t
	return unix.Stat("/proc/self/ns/pid", &st) != nil || st.Ino != initialPIDNamespace
}()

// likelyOurs judges by name and effect where process ids say nothing: who restores rules and touches our chains only is we.
func (c change) likelyOurs() bool {
	if !nested || !strings.Contains(c.process, "-re") { // iptables-restore, cut off after 15 letters
		return false
	}
	for _, t := range c.touched {
		if !ours(t.chain.Name) {
			return false
		}
	}
	return true
}

// watchRuleset sends every transaction that removes rules from a table of iptables, of whatever process. The channel is closed when ctx
// ends or the socket breaks.
func watchRuleset(ctx context.Context) (<-chan change, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "nfnetlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		file.Close()
		return nil, fmt.Errorf("bind a netlink socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES); err != nil {
		file.Close()
		return nil, fmt.Errorf("subscribe to nf_tables: %w", err)
	}
	changes := make(chan change, 16)
	stop := context.AfterFunc(ctx, func() { file.Close() })
	go func() {
		defer close(changes)
		defer stop()
		defer file.Close()
		read(ctx, file, changes)
	}()
	return changes, nil
}

func read(ctx context.Context, file *os.File, changes chan<- change) {
	var d decoder
	buf := make([]byte, 1<<16)
	for {
		n, err := file.Read(buf)
		var done []change
		switch {
		case errors.Is(err, syscall.ENOBUFS): // some are lost
			d, done = decoder{}, []change{{touched: []touch{{}}}}
		case err != nil:
			return
		default:
			done = d.decode(buf[:n])
		}
		for _, c := range done {
			select {
			case changes <- c:
			case <-ctx.Done():
				return
			}
		}
	}
}

// decoder puts transactions together; the last message of one says who made it.
type decoder struct{ open []touch }

func (d *decoder) decode(b []byte) (done []change) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			break
		}
		kind, body := binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size]
		if kind>>8 == unix.NFNL_SUBSYS_NFTABLES && len(body) >= 4 {
			if c, ended := d.message(int(kind&0xff), body[0], attributes(body[4:])); ended && len(c.touched) > 0 {
				done = append(done, c)
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return done
}

func (d *decoder) message(kind int, family byte, attrs map[uint16][]byte) (c change, ended bool) {
	const table, pid, process = unix.NFTA_TABLE_NAME, unix.NFTA_GEN_PROC_PID, unix.NFTA_GEN_PROC_NAME
	chain := 0
	switch kind {
	case unix.NFT_MSG_NEWGEN:
		c = change{process: text(attrs[process]), touched: d.open}
		if len(attrs[pid]) >= 4 {
			c.pid = int(binary.BigEndian.Uint32(attrs[pid]))
		}
		d.open = nil
		return c, true
	case unix.NFT_MSG_DELTABLE:
	case unix.NFT_MSG_DELCHAIN:
		chain = unix.NFTA_CHAIN_NAME
	case unix.NFT_MSG_DELRULE:
		chain = unix.NFTA_RULE_CHAIN
	default:
		return c, false
	}
	t := touch{chain: Chain{Table: Table(text(attrs[table]))}}
	if chain != 0 {
		t.chain.Name = text(attrs[uint16(chain)])
	}
	switch family {
	case unix.NFPROTO_IPV4:
		t.family = IPv4
	case unix.NFPROTO_IPV6:
		t.family = IPv6
	default: // an inet or bridge table is none of iptables
		return c, false
	}
	if len(d.open) == 0 || d.open[len(d.open)-1] != t {
		d.open = append(d.open, t)
	}
	return c, false
}

func attributes(b []byte) map[uint16][]byte {
	out := map[uint16][]byte{}
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			break
		}
		// the two upper bits are flags
		out[binary.NativeEndian.Uint16(b[2:])&0x3fff] = b[unix.SizeofNlAttr:size]
		b = b[min(len(b), (size+3)&^3):]
	}
	return out
}

func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}
