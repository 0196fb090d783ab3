package reexec

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// Request is what a creator or an executor is to start; the daemon writes it as JSON into a file that they inherit.
type Request struct {
	// Root is libcontainer's state directory, ID the container's.
	Root, ID string
	// Config of the container to make; nil: it runs already.
	Config *configs.Config
	Process
}

// Process is what is to run in the container.
type Process struct {
	Args     []string
	Env      []string
	Cwd      string
	UID, GID int
	Groups   []int
	TTY      bool
	Stdin    bool
	// Capabilities and NoNewPrivileges of a process that is not the container's first, which has those of its Config.
	Capabilities    *configs.Capabilities
	NoNewPrivileges *bool
}

// The open files of creators and executors (creator.c gives the creators theirs).
const (
	requestFD = 3
	resultFD  = 4
	stdioFD   = 5 // three of them; the first is the console socket with a terminal
)

func readRequest() (r Request, err error) {
	f := os.NewFile(requestFD, "request")
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&r); err != nil {
		return r, fmt.Errorf("read the request: %w", err)
	}
	return r, nil
}

// ownStdio gives the container's pipes to root of its user namespace, who could not open /dev/stdout otherwise.
func ownStdio(c *configs.Config) {
	if len(c.UIDMappings) == 0 || len(c.GIDMappings) == 0 {
		return
	}
	for fd := stdioFD; fd < stdioFD+3; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			_ = unix.Fchown(fd, int(c.UIDMappings[0].HostID), int(c.GIDMappings[0].HostID))
		}
	}
}

// process gives p its files.
func process(p Process, first bool) *libcontainer.Process {
	lp := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd, UID: p.UID, GID: p.GID, AdditionalGroups: p.Groups, Init: first,
		Capabilities: p.Capabilities, NoNewPrivileges: p.NoNewPrivileges,
	}
	if p.TTY {
		lp.ConsoleSocket = os.NewFile(stdioFD, "console")
		return lp
	}
	if p.Stdin {
		lp.Stdin = os.NewFile(stdioFD, "stdin")
	}
	lp.Stdout = os.NewFile(stdioFD+1, "stdout")
	lp.Stderr = os.NewFile(stdioFD+2, "stderr")
	return lp
}
