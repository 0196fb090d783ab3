// Package stats reads what a cgroup and a network namespace have used, straight from the kernel's files: cgroup v1, v2 and
// the hybrid of both. Nothing is kept, nothing is polled; each call reads a handful of small files.
package stats

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage of a cgroup at one time. Memory in bytes; WorkingSet is usage less inactive file cache.
type Usage struct {
	Time                         time.Time
	CPUNanos                     uint64
	MemoryUsage, WorkingSet, RSS uint64
	PageFaults, MajorPageFaults  uint64
	PIDs                         uint64
	// MemoryLimit, Swap in use and SwapLimit (of swap alone); a limit of 0 is none, or none that is known.
	MemoryLimit, Swap, SwapLimit uint64
}

// Network counters of an interface.
type Network struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Cgroup reads the usage of a cgroup. paths are as the cgroups library gives them: one directory a v1 controller, "" the v2
// one. A controller that is not there counts as zero; no cgroup at all is os.ErrNotExist.
func Cgroup(paths map[string]string) (Usage, error) {
	if dir, v1 := paths["memory"]; v1 {
		return version1(paths, dir)
	}
	return version2(paths[""])
}

func version2(dir string) (Usage, error) {
	u := Usage{Time: time.Now()}
	cpu, err := keyed(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return u, fmt.Errorf("read cgroup: %w", err)
	}
	u.CPUNanos = cpu["usage_usec"] * 1000
	u.MemoryUsage = number(filepath.Join(dir, "memory.current"))
	memory, _ := keyed(filepath.Join(dir, "memory.stat"))
	u.WorkingSet = less(u.MemoryUsage, memory["inactive_file"])
	u.RSS = memory["anon"]
	u.MemoryLimit, u.Swap, u.SwapLimit = number(filepath.Join(dir, "memory.max")), number(filepath.Join(dir, "memory.swap.current")), number(filepath.Join(dir, "memory.swap.max"))
	u.PageFaults, u.MajorPageFaults = memory["pgfault"], memory["pgmajfault"]
	u.PIDs = number(filepath.Join(dir, "pids.current"))
	return u, nil
}

func version1(paths map[string]string, memoryDir string) (Usage, error) {
	u := Usage{Time: time.Now()}
	memory, err := keyed(filepath.Join(memoryDir, "memory.stat"))
	if err != nil {
		return u, fmt.Errorf("read cgroup: %w", err)
	}
	u.CPUNanos = number(filepath.Join(paths["cpuacct"], "cpuacct.usage"))
	u.MemoryUsage = number(filepath.Join(memoryDir, "memory.usage_in_bytes"))
	u.WorkingSet = less(u.MemoryUsage, memory["total_inactive_file"])
	u.RSS, u.Swap = memory["total_rss"], memory["total_swap"]
	u.MemoryLimit = limit(memory["hierarchical_memory_limit"])
	if both := limit(memory["hierarchical_memsw_limit"]); both > u.MemoryLimit {
		u.SwapLimit = both - u.MemoryLimit
	}
	u.PageFaults, u.MajorPageFaults = memory["total_pgfault"], memory["total_pgmajfault"]
	u.PIDs = number(filepath.Join(paths["pids"], "pids.current"))
	return u, nil
}

func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// number in a file; 0 for none, "max" and -1.
func number(path string) uint64 { return parse(strings.TrimSpace(text(path))) }

func parse(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// text of a file; "" when it is not there.
func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}

func lines(path string) uint64 { return uint64(strings.Count(text(path), "\n")) }

// keyed reads lines of "key value".
func keyed(path string) (map[string]uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := make(map[string]uint64, 48)
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		key, value, ok := bytes.Cut(line, []byte{' '})
		if n, err := strconv.ParseUint(string(value), 10, 64); ok && err == nil {
			out[string(key)] = n
		}
	}
	return out, nil
}

// ErrNoInterface says that the namespace has no such interface (yet).
var ErrNoInterface = errors.New("no such network interface")

// Interface reads an interface's counters in the network namespace of a process.
func Interface(pid int, name string) (Network, error) {
	all, err := Interfaces(pid)
	if err != nil {
		return Network{}, err
	}
	for _, n := range all {
		if n.Name == name {
			return n, nil
		}
	}
	return Network{}, fmt.Errorf("%s: %w", name, ErrNoInterface)
}

// Interfaces reads the counters of all interfaces but lo in the network namespace of a process.
func Interfaces(pid int) (out []Network, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/net/dev", pid))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if n, ok := parseInterface(s.Text()); ok && n.Name != "lo" {
			out = append(out, n)
		}
	}
	return out, s.Err()
}

// parseInterface reads a line of /proc/net/dev: "name: rx bytes packets errs drop … (8 fields) tx bytes packets errs drop …".
func parseInterface(line string) (Network, bool) {
	iface, rest, ok := strings.Cut(line, ":")
	f := strings.Fields(rest)
	if !ok || len(f) < 12 {
		return Network{}, false
	}
	return Network{Name: strings.TrimSpace(iface), RxBytes: parse(f[0]), RxPackets: parse(f[1]), RxErrors: parse(f[2]), RxDropped: parse(f[3]),
		TxBytes: parse(f[8]), TxPackets: parse(f[9]), TxErrors: parse(f[10]), TxDropped: parse(f[11])}, true
}
