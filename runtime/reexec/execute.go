package reexec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// An executor's messages, packets on its result socket: Started when the process runs, then Ended with the exit code; or Failed with
// the exit code that a shell would give and the reason. The other end asks for the process's end by closing its side.
const (
	Started = "OK"
	Ended   = "EXIT %d"
	Failed  = "ERR %d %s"
)

// execute runs one more process in a container, waits for it, and ends. A daemon that dies takes the process with it.
func execute() {
	logrus.SetOutput(io.Discard) // what goes wrong is in the error
	result := os.NewFile(resultFD, "result")
	p, err := start()
	for fd := stdioFD; fd < stdioFD+3; fd++ {
		_ = unix.Close(fd) // the process has its own: what it closes shall be closed
	}
	if err != nil {
		fmt.Fprintf(result, Failed, cannotExecute(err), err)
		os.Exit(1)
	}
	fmt.Fprint(result, Started)
	var ended sync.Mutex // held from when the process is reaped: its number may then be another's
	go func() {
		_, _ = result.Read(make([]byte, 1)) // nothing is ever sent
		ended.Lock()
		if pid, err := p.Pid(); err == nil {
			_ = unix.Kill(-pid, unix.SIGKILL) // nsexec made it a session, so a group, of its own
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		ended.Unlock()
	}()
	code := wait(p, &ended)
	fmt.Fprintf(result, Ended, code)
	os.Exit(0)
}

func start() (*libcontainer.Process, error) {
	r, err := readRequest()
	if err != nil {
		return nil, err
	}
	c, err := libcontainer.Load(r.Root, r.ID)
	if err != nil {
		return nil, err
	}
	config := c.Config()
	ownStdio(&config)
	p := process(r.Process, false)
	return p, c.Run(p)
}

// wait waits until the process has ended, and takes the lock before it is reaped. It returns its exit code, or 128 and the signal.
func wait(p *libcontainer.Process, reaped *sync.Mutex) int {
	pid, _ := p.Pid()
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	reaped.Lock()
	state, err := p.Wait()
	if state == nil || err != nil && state.Success() {
		return 128 + int(unix.SIGKILL)
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return state.ExitCode()
}

// cannotExecute is the exit code that a shell gives for a command that it cannot run.
func cannotExecute(err error) int {
	if errors.Is(err, os.ErrPermission) {
		return 126
	}
	return 127
}
