package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// ErrExecTimeout is returned, with exit code 137, when ExecSpec.Timeout has passed.
var ErrExecTimeout = errors.New("command timed out")

// drainTime is how long output may stay silent after the process has ended while another process holds its pipe.
const drainTime = 100 * time.Millisecond

// Exec runs one more process and returns its exit code when it has ended.
func (m *Manager) Exec(ctx context.Context, containerID string, spec ExecSpec) (exitCode int, err error) {
	c, _, _, err := m.running(containerID)
	if err != nil {
		return -1, err
	}
	if len(spec.Args) == 0 {
		return -1, fmt.Errorf("exec in container %s: no command", containerID)
	}
	lc, err := libcontainer.Load(m.factoryRoot(), containerID)
	if err != nil {
		return -1, fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	p := m.execProcess(c.info.Spec, spec)
	streams, err := newExecStreams(spec, p)
	if err != nil {
		return -1, fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	err = lc.Run(p)
	streams.started()
	if err != nil {
		streams.close()
		return cannotExec(err), fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	code, err := m.waitExec(ctx, p, spec, streams)
	if err != nil {
		return code, fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	return code, nil
}

// cannotExec is the exit code that a shell gives for a command that it cannot run.
func cannotExec(err error) int {
	if errors.Is(err, os.ErrPermission) {
		return 126
	}
	return 127
}

func (m *Manager) execProcess(c ContainerSpec, spec ExecSpec) *libcontainer.Process {
	p := &libcontainer.Process{
		Args: spec.Args, Env: append(env(ContainerSpec{Env: c.Env, TTY: spec.TTY}), spec.Env...), Cwd: cwd(c),
		UID: int(c.UID), GID: int(c.GID), Capabilities: m.capabilitySets(c), NoNewPrivileges: &c.NoNewPrivileges,
	}
	for _, g := range c.Groups {
		p.AdditionalGroups = append(p.AdditionalGroups, int(g))
	}
	return p
}

func (m *Manager) waitExec(ctx context.Context, p *libcontainer.Process, spec ExecSpec, streams *execStreams) (int, error) {
	pid, _ := p.Pid()
	kill := func() {
		_ = unix.Kill(-pid, unix.SIGKILL) // nsexec made it a session, so a group, of its own
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	var timedOut atomic.Bool
	if spec.Timeout > 0 {
		timer := time.AfterFunc(spec.Timeout, func() {
			timedOut.Store(true)
			kill()
		})
		defer timer.Stop()
	}
	stop := context.AfterFunc(ctx, kill)
	state, err := p.Wait()
	stop()
	streams.drain()
	switch {
	case timedOut.Load():
		return 128 + int(unix.SIGKILL), ErrExecTimeout
	case ctx.Err() != nil:
		return -1, ctx.Err()
	case state == nil:
		return -1, err
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return state.ExitCode(), nil
}

// execStreams connects an exec's process to the caller's streams.
type execStreams struct {
	spec   ExecSpec
	theirs []*os.File // the process's ends, closed once it has started
	ours   []*os.File
	stdin  *os.File
	tty    *os.File
	wg     sync.WaitGroup
	last   atomic.Int64 // when output was last seen
	done   chan struct{}
	copies []func()
}

func newExecStreams(spec ExecSpec, p *libcontainer.Process) (*execStreams, error) {
	s := &execStreams{spec: spec, done: make(chan struct{})}
	if spec.TTY {
		return s, s.console(p)
	}
	if spec.Stdin != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		p.Stdin, s.stdin = r, w
		s.theirs = append(s.theirs, r)
	}
	for _, o := range []struct {
		to  io.Writer
		set func(*os.File)
	}{{spec.Stdout, func(f *os.File) { p.Stdout = f }}, {spec.Stderr, func(f *os.File) { p.Stderr = f }}} {
		if o.to == nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			s.close()
			return nil, err
		}
		o.set(w)
		s.theirs, s.ours = append(s.theirs, w), append(s.ours, r)
		s.copies = append(s.copies, func() { s.copyOut(o.to, r) })
	}
	return s, nil
}

// console makes the socket by which the process sends its terminal.
func (s *execStreams) console(p *libcontainer.Process) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make console socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console")
	p.ConsoleSocket = theirs
	s.theirs, s.ours = append(s.theirs, theirs), append(s.ours, ours)
	return nil
}

// started is called when the process runs (or could not): it begins to copy.
func (s *execStreams) started() {
	for _, f := range s.theirs {
		f.Close()
	}
	if s.spec.TTY {
		if tty, err := receiveTerminal(s.ours[0]); err == nil {
			s.tty, s.stdin = tty, tty
			s.ours = append(s.ours, tty)
			s.copies = append(s.copies, func() { s.copyOut(s.spec.Stdout, tty) })
		}
	}
	s.last.Store(time.Now().UnixNano())
	for _, f := range s.copies {
		s.wg.Go(f)
	}
	if s.spec.Stdin != nil && s.stdin != nil {
		go s.copyIn() // it may sit in the caller's Read for ever
	}
	if s.spec.Resize != nil && s.tty != nil {
		go s.resize()
	}
}

func (s *execStreams) copyIn() {
	_, _ = io.Copy(s.stdin, s.spec.Stdin)
	if s.tty == nil {
		s.stdin.Close()
	}
}

func (s *execStreams) copyOut(to io.Writer, from *os.File) {
	buf := make([]byte, 32*1024)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			s.last.Store(time.Now().UnixNano())
			if to != nil {
				if _, werr := to.Write(buf[:n]); werr != nil {
					to = nil // go on reading: the process must not block on a caller that went away
				}
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *execStreams) resize() {
	for {
		select {
		case <-s.done:
			return
		case z, ok := <-s.spec.Resize:
			if !ok {
				return
			}
			setSize(s.tty, z)
		}
	}
}

// drain waits, after the process has ended, for the end of its output. Processes that it left behind may hold the pipes:
// they are not waited for once nothing has come for a while.
func (s *execStreams) drain() {
	ended := make(chan struct{})
	go func() { s.wg.Wait(); close(ended) }()
	tick := time.NewTicker(drainTime / 4)
	defer tick.Stop()
	s.last.Store(time.Now().UnixNano())
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case <-tick.C:
			waiting = time.Since(time.Unix(0, s.last.Load())) < drainTime
		}
	}
	s.close()
	<-ended
}

func (s *execStreams) close() {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	for _, f := range append(s.ours, s.theirs...) {
		f.Close()
	}
	if s.stdin != nil {
		s.stdin.Close()
	}
}
