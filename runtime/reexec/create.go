package reexec

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
)

// create makes and starts the container, writes "OK <pid> <time>" or the error as the result, and ends. The container's first
// process becomes the child of the keeper, the nearest subreaper.
func create() {
	logrus.SetOutput(io.Discard) // what goes wrong is in the error
	result := os.NewFile(resultFD, "result")
	pid, err := createAndRun()
	if err != nil {
		fmt.Fprint(result, err.Error())
		os.Exit(1)
	}
	now := time.Now()
	fmt.Fprintf(result, "OK %d %d.%09d", pid, now.Unix(), now.Nanosecond())
	os.Exit(0)
}

func createAndRun() (pid int, err error) {
	r, err := readRequest()
	if err != nil {
		return 0, err
	}
	c, err := libcontainer.Create(r.Root, r.ID, r.Config)
	if err != nil {
		return 0, err
	}
	ownStdio(r.Config)
	p := process(r.Process, true)
	if err := c.Run(p); err != nil {
		_ = c.Destroy()
		return 0, err
	}
	return p.Pid()
}
