package stats

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// Process reads the usage of one process: all its threads.
func Process(pid int) (Usage, error) {
	u := Usage{Time: time.Now(), PIDs: 1}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The name of the program, which may hold anything, is in the second field, in brackets.
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	if len(f) < 22 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	u.PageFaults, u.MajorPageFaults = parse(f[7]), parse(f[9])
	u.CPUNanos = (parse(f[11]) + parse(f[12])) * 10_000_000 // USER_HZ is 100 for every Linux user space
	u.RSS = parse(f[21]) * uint64(os.Getpagesize())
	return u, nil
}
