package testbox

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// NetNS is the file of the node's network namespace.
func (n *Node) NetNS() string { return "/run/netns/" + n.netns() }

// Dial connects from within the node's network namespace. address must hold an IP address, no name.
func (n *Node) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	nsErr := n.Inside(func() { conn, err = (&net.Dialer{}).DialContext(ctx, network, address) })
	if nsErr != nil {
		return nil, nsErr
	}
	return conn, err
}

// Inside runs f on a thread in the node's network namespace. Sockets that f makes stay there; goroutines that it starts do not.
func (n *Node) Inside(f func()) error { return inside(n.netns(), f) }

// Listen listens in the namespace that all nodes are linked to, at LANAddress: a machine outside the cluster.
func (b *Box) Listen(network, address string) (l net.Listener, err error) {
	nsErr := inside(b.lan(), func() { l, err = net.Listen(network, address) })
	if nsErr != nil {
		return nil, nsErr
	}
	return l, err
}

// LANAddress is the address of the machine outside the cluster.
const LANAddress = "192.168.77.254"

func inside(netns string, f func()) error {
	runtime.LockOSThread()
	home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + netns)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", netns, err)
	}
	defer func() {
		// A thread that cannot go home stays locked, and ends with its goroutine.
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	f()
	return nil
}

// Run runs a program outside the cluster, in the namespace that all nodes are linked to.
func (b *Box) Run(timeout time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + b.lan(), "--", program}, args...)...).CombinedOutput()
	return string(out), err
}
