package keeper

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a keeper's process, held by a pidfd: it is never mistaken for another that has got its pid.
type Process struct{ pid, fd int }

// Find takes hold of a keeper that is known to live: it was just started, or has just answered.
func Find(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("find keeper %d: %w", pid, err)
	}
	return &Process{pid, fd}, nil
}

// Kill ends it, waits until it has ended, and reaps it if it is a child. After success the Process is used up.
func (p *Process) Kill(timeout time.Duration) error {
	if err := unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("kill keeper %d: %w", p.pid, err)
	}
	for deadline := time.Now().Add(timeout); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		if n > 0 {
			break
		}
		if err != unix.EINTR && !time.Now().Before(deadline) {
			return fmt.Errorf("kill keeper %d: it is still there", p.pid)
		}
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(p.pid, &ws, unix.WNOHANG, nil); err != unix.EINTR {
			break // mostly ECHILD, after a restart of the daemon
		}
	}
	return unix.Close(p.fd)
}
