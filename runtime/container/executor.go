package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/reexec"
)

// executor is the process that runs an exec's process and waits for it (package reexec).
type executor struct {
	cmd    *exec.Cmd
	result *net.UnixConn
}

// startExecutor starts one that passes these files (some may be nil) to its process.
func (m *Manager) startExecutor(r *reexec.Request, stdio [3]*os.File) (*executor, error) {
	request, err := requestFile(r)
	if err != nil {
		return nil, err
	}
	defer request.Close()
	ours, theirs, err := socketPair(unix.SOCK_SEQPACKET, "result")
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, fmt.Errorf("make result socket: %w", err)
	}
	e := &executor{result: conn.(*net.UnixConn)}
	e.cmd = &exec.Cmd{
		Path: m.cfg.Executable, Args: []string{"skiff", "exec", r.ID},
		Env:         []string{"_SKIFF_EXEC=1", "GOMAXPROCS=2", "GOGC=off", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		ExtraFiles:  append([]*os.File{request, theirs}, stdio[:]...),
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}, // a terminal's Ctrl-C is for the daemon, which then ends it
	}
	if err := e.cmd.Start(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("start executor: %w", err)
	}
	return e, nil
}

// socketPair makes two connected sockets of a type, for this process and the one that it starts.
func socketPair(kind int, name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make %s socket: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// started waits until the process runs. When it cannot run, the exit code is the one that a shell would give.
func (e *executor) started() (exitCode int, err error) {
	message := e.receive()
	if message == reexec.Started {
		return 0, nil
	}
	return e.failed(message)
}

// wait waits for the end of the process, and sees to it when the context ends or the timeout (if not 0) has passed.
func (e *executor) wait(ctx context.Context, timeout time.Duration) (exitCode int, err error) {
	kill := func() { _ = e.result.CloseWrite() }
	var timedOut atomic.Bool
	if timeout > 0 {
		timer := time.AfterFunc(timeout, func() {
			timedOut.Store(true)
			kill()
		})
		defer timer.Stop()
	}
	stop := context.AfterFunc(ctx, kill)
	message := e.receive()
	stop()
	switch {
	case timedOut.Load():
		return 128 + int(unix.SIGKILL), ErrExecTimeout
	case ctx.Err() != nil:
		return -1, ctx.Err()
	}
	if _, err := fmt.Sscanf(message, reexec.Ended, &exitCode); err == nil {
		return exitCode, nil
	}
	return e.failed(message)
}

func (e *executor) failed(message string) (exitCode int, err error) {
	if _, err := fmt.Sscanf(message, "ERR %d", &exitCode); err == nil {
		_, reason, _ := strings.Cut(strings.TrimPrefix(message, "ERR "), " ")
		return exitCode, errors.New(reason)
	}
	return -1, errors.New("the executor ended without a word")
}

// receive returns the next message, nothing when the executor has ended.
func (e *executor) receive() string {
	buf := make([]byte, 16<<10)
	n, _ := e.result.Read(buf)
	return string(buf[:n])
}

// close ends what is left.
func (e *executor) close() {
	e.result.Close()
	_ = e.cmd.Wait()
}
