// Package iptables brings a set of chains, given as a value, into the kernel.
//
// A Writer owns the chains whose names begin with its prefix, and the jumps into them from the built-in chains; it never
// touches another rule. Apply compares the wanted set with what the last Apply left and writes only the chains that
// differ, one iptables-restore a table, which the kernel takes as one transaction. When the writer does not know what
// is in the kernel (at start, after an error, after somebody flushed the table) it reads the names of its chains back
// and writes everything, so a crash leaves nothing stale and needs no saved state.
//
// Writers with different prefixes may be used at the same time: podnet and netproxy have one each. Their jumps stand in
// the built-in chains in a fixed order (Order), whoever writes first. An Owner has all writers of a machine and puts back
// within a second what others remove: firewalld and ufw flush the built-in chains when they reload. With the nft backend the
// kernel tells of every transaction (NFNLGRP_NFTABLES) and who made it; the legacy backend tells nobody, so the sizes of
// its tables are compared (one system call a table).
//
// Goroutines: Owner.Run and one that reads its netlink socket; nothing else. The package runs the host's iptables,
// iptables-save and iptables-restore, of whichever backend the host has.
package iptables
