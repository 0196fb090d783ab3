package iptables

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sizes are how large the legacy backend's tables were when last looked at. A table that was flushed or reloaded has another size.
type sizes map[sizeKey]tableSize

type sizeKey struct {
	family Family
	table  Table
}

// tableSize is what identifies the content of a table of struct ipt_getinfo, linux/netfilter_ipv4/ip_tables.h.
type tableSize struct{ entries, bytes uint32 }

// read asks the kernel again and returns the families of which a table has another size.
func (s sizes) read(families []Family) (changed []Family) {
	for _, f := range families {
		differs := false
		for _, t := range []Table{NAT, Filter} {
			now, err := legacySize(f, t)
			key := sizeKey{f, t}
			if err == nil && s[key] != now {
				s[key], differs = now, true
			}
		}
		if differs {
			changed = append(changed, f)
		}
	}
	return changed
}

// legacySize is one getsockopt, which copies nothing of the table itself.
func legacySize(f Family, t Table) (tableSize, error) {
	const getInfo = 64 // IPT_SO_GET_INFO and IP6T_SO_GET_INFO
	domain, level := unix.AF_INET, unix.IPPROTO_IP
	if f == IPv6 {
		domain, level = unix.AF_INET6, unix.IPPROTO_IPV6
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return tableSize{}, err
	}
	defer unix.Close(fd)
	var info struct {
		name          [32]byte
		hooks         uint32
		entry, under  [5]uint32
		entries, size uint32
	}
	copy(info.name[:31], t)
	length := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return tableSize{}, errno
	}
	return tableSize{info.entries, info.size}, nil
}
