package podnet

import (
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	defaultMTU = 1500
	// vxlan puts an Ethernet, a vxlan, a UDP and an IP header around each frame.
	vxlanOverheadIPv4 = 50
	vxlanOverheadIPv6 = 70
)

// podMTU is the configured one, or what vxlan leaves of the underlay's.
func (n *Network) podMTU() (int, error) {
	if n.cfg.MTU != 0 {
		return n.cfg.MTU, nil
	}
	n.mu.Lock()
	ips := n.nodeIPs
	n.mu.Unlock()
	if len(ips) == 0 {
		return defaultMTU - vxlanOverheadIPv4, nil
	}
	ip := ips[0]
	_, mtu, err := underlayOf(ip)
	if err != nil {
		return 0, err
	}
	if ip.Is6() {
		return mtu - vxlanOverheadIPv6, nil
	}
	return mtu - vxlanOverheadIPv4, nil
}

// underlayOf finds the device that has the node's address. Loopback counts as an ordinary Ethernet.
func underlayOf(ip netip.Addr) (index, mtu int, err error) {
	if !ip.IsValid() {
		return 0, 0, fmt.Errorf("this node has no address for the overlay")
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return 0, 0, fmt.Errorf("list this node's addresses: %w", err)
	}
	for _, a := range addrs {
		if prefixOf(a.IPNet).Addr() != ip.Unmap() {
			continue
		}
		link, err := netlink.LinkByIndex(a.LinkIndex)
		if err != nil {
			return 0, 0, fmt.Errorf("look up the device of %s: %w", ip, err)
		}
		return a.LinkIndex, min(link.Attrs().MTU, 9000), nil
	}
	return 0, 0, fmt.Errorf("no device has this node's address %s", ip)
}

// disableBrokenOffload turns off transmit checksum offload of the vxlan device on kernels before 5.8, which send wrong
// checksums for masqueraded packets in a tunnel.
func disableBrokenOffload(device string) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("read the kernel's version: %w", err)
	}
	if major > 5 || major == 5 && minor >= 8 {
		return nil
	}
	return setTxChecksum(device, 0)
}

// setTxChecksum is ethtool -K device tx on|off.
func setTxChecksum(device string, on uint32) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{unix.ETHTOOL_STXCSUM, on}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq's union is longer than a pointer
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&value)
	if errno != 0 {
		return errno
	}
	return nil
}
