package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/reexec"
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
	streams, err := newExecStreams(spec)
	if err != nil {
		return -1, fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	e, err := m.startExecutor(&reexec.Request{Root: m.factoryRoot(), ID: containerID, Process: m.execProcess(c.info.Spec, spec)}, streams.files)
	if err != nil {
		streams.close()
		return -1, fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	defer e.close()
	code, err := e.started()
	if err == nil {
		streams.started()
	} else {
		streams.close()
		return code, fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	code, err = e.wait(ctx, spec.Timeout)
	streams.drain()
	if err != nil {
		return code, fmt.Errorf("exec in container %s: %w", containerID, err)
	}
	return code, nil
}

func (m *Manager) execProcess(c ContainerSpec, spec ExecSpec) reexec.Process {
	c.Args, c.TTY, c.Stdin = spec.Args, spec.TTY, spec.Stdin != nil
	p := process(c)
	p.Env = slices.Concat(p.Env, spec.Env)
	p.Capabilities, p.NoNewPrivileges = m.capabilitySets(c), &c.NoNewPrivileges
	return p
}

// execStreams connects an exec's process to the caller's streams.
type execStreams struct {
	spec   ExecSpec
	files  [3]*os.File // the process's ends, as an executor wants them; closed once it has started
	ours   []*os.File
	stdin  *os.File
	tty    *os.File
	wg     sync.WaitGroup
	last   atomic.Int64 // when output was last seen
	done   chan struct{}
	copies []func()
}

func newExecStreams(spec ExecSpec) (*execStreams, error) {
	s := &execStreams{spec: spec, done: make(chan struct{})}
	err := s.open()
	if err != nil {
		s.close()
	}
	return s, err
}

func (s *execStreams) open() (err error) {
	if s.spec.TTY {
		return s.console()
	}
	if s.spec.Stdin != nil {
		if s.files[0], s.stdin, err = os.Pipe(); err != nil {
			return err
		}
	}
	for i, to := range []io.Writer{s.spec.Stdout, s.spec.Stderr} {
		if to == nil {
			if s.files[1+i], err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
				return err
			}
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.files[1+i], s.ours = w, append(s.ours, r)
		s.copies = append(s.copies, func() { s.copyOut(to, r) })
	}
	return nil
}

// console makes the socket by which the process sends its terminal.
func (s *execStreams) console() error {
	ours, theirs, err := socketPair(unix.SOCK_STREAM, "console")
	if err != nil {
		return err
	}
	s.ours, s.files[0] = append(s.ours, ours), theirs
	return nil
}

// started is called when the process runs: it begins to copy.
func (s *execStreams) started() {
	s.closeFiles()
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

// closeFiles closes the process's ends, which it has now or will never have.
func (s *execStreams) closeFiles() {
	for _, f := range s.files {
		f.Close() // nil, or closed already: an error that says so
	}
}

func (s *execStreams) close() {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	s.closeFiles()
	for _, f := range s.ours {
		f.Close()
	}
	if s.stdin != nil {
		s.stdin.Close()
	}
}
