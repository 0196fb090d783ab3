package kubelet

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// dialIn connects to localhost in the network namespace at path; "" is the process's own.
func dialIn(ctx context.Context, path string, port int32) (net.Conn, error) {
	dial := func() (net.Conn, error) {
		// Both families by hand: the dialer's race would leave this thread and its namespace.
		c, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
		if err != nil {
			if c6, err6 := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port)))); err6 == nil {
				return c6, nil
			}
		}
		return c, err
	}
	if path == "" {
		return dial()
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread is not given back: it ends with this goroutine, and its namespace with it.
		runtime.LockOSThread()
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- result{nil, fmt.Errorf("open network namespace: %w", err)}
			return
		}
		err = unix.Setns(fd, unix.CLONE_NEWNET)
		unix.Close(fd)
		if err != nil {
			done <- result{nil, fmt.Errorf("enter network namespace: %w", err)}
			return
		}
		c, err := dial()
		done <- result{c, err}
	}()
	r := <-done
	return r.conn, r.err
}
