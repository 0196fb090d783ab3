package reexec

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/sirupsen/logrus"
)

// Request is what a creator is to make; the daemon writes it as JSON into a file that the keeper hands on.
type Request struct {
	// Root is libcontainer's state directory, ID the container's.
	Root, ID string
	Config   *configs.Config
	Args     []string
	Env      []string
	Cwd      string
	UID, GID int
	Groups   []int
	TTY      bool
	Stdin    bool
}

// A creator's open files, given by the keeper (creator.c).
const (
	requestFD = 3
	resultFD  = 4
	stdioFD   = 5 // three of them; the first is the console socket with a terminal
)

// create makes and starts the container, writes "OK <pid> <time>" or the error as the result, and ends. The container's first
// process becomes the child of the keeper, the nearest subreaper.
func create() {
	logrus.SetOutput(io.Discard) // what goes wrong is in the error
	result := os.NewFile(resultFD, "result")
	pid, err := run()
	if err != nil {
		fmt.Fprint(result, err.Error())
		os.Exit(1)
	}
	now := time.Now()
	fmt.Fprintf(result, "OK %d %d.%09d", pid, now.Unix(), now.Nanosecond())
	os.Exit(0)
}

func run() (pid int, err error) {
	var r Request
	f := os.NewFile(requestFD, "request")
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return 0, fmt.Errorf("read the creator's request: %w", err)
	}
	f.Close()
	c, err := libcontainer.Create(r.Root, r.ID, r.Config)
	if err != nil {
		return 0, err
	}
	p := process(r)
	if err := c.Run(p); err != nil {
		_ = c.Destroy()
		return 0, err
	}
	return p.Pid()
}

func process(r Request) *libcontainer.Process {
	p := &libcontainer.Process{
		Args: r.Args, Env: r.Env, Cwd: r.Cwd, UID: r.UID, GID: r.GID, AdditionalGroups: r.Groups, Init: true,
	}
	if r.TTY {
		p.ConsoleSocket = os.NewFile(stdioFD, "console")
		return p
	}
	if r.Stdin {
		p.Stdin = os.NewFile(stdioFD, "stdin")
	}
	p.Stdout = os.NewFile(stdioFD+1, "stdout")
	p.Stderr = os.NewFile(stdioFD+2, "stderr")
	return p
}
