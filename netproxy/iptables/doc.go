// Package iptables brings a set of chains, given as a value, into the kernel.
//
// A Writer owns the chains whose names begin with its prefix, and the jumps into them from the built-in chains; it never
// touches another rule. Apply compares the wanted set with what the last Apply left and writes only the chains that
// differ, one iptables-restore a table, which the kernel takes as one transaction. When the writer does not know what
// is in the kernel (at start, after an error, after somebody flushed the table) it reads the names of its chains back
// and writes everything, so a crash leaves nothing stale and needs no saved state.
//
// Writers with different prefixes may be used at the same time: podnet and netproxy have one each. The package starts no
// goroutine. It runs the host's iptables, iptables-save and iptables-restore, of whichever backend the host has.
package iptables
