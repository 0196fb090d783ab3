package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of times in /proc/<pid>/stat.
const tick = 10 * time.Millisecond

// usage is what all of skiff's processes together hold or have used: the daemon, and a keeper a pod.
type usage struct {
	processes int
	pss, anon float64       // MiB
	cpu       time.Duration // with the short-lived processes that they started and waited for
	switches  float64
	written   float64 // bytes that went to the disk
}

// skiffs are the ids of the processes that run this section's executable, or the shim that it unpacked.
func (b *bench) skiffs() []int {
	programs, _ := filepath.Glob(filepath.Join(b.node.Dir(), "lib", "agent", "shim", "skiff-shim-*"))
	var ours []os.FileInfo
	for _, program := range append(programs, b.skiff) {
		if fi, err := os.Stat(program); err == nil {
			ours = append(ours, fi)
		}
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*/exe")
	var pids []int
	for _, exe := range dirs {
		have, err := os.Stat(exe)
		if err == nil && slices.ContainsFunc(ours, func(fi os.FileInfo) bool { return os.SameFile(fi, have) }) {
			pid, _ := strconv.Atoi(strings.Split(exe, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

func (b *bench) usage() usage {
	var u usage
	for _, pid := range b.skiffs() {
		dir := fmt.Sprintf("/proc/%d/", pid)
		u.processes++
		u.pss += field(dir+"smaps_rollup", "Pss:") / 1024
		u.anon += field(dir+"smaps_rollup", "Anonymous:") / 1024
		u.cpu += cpuOf(pid)
		u.written += field(dir+"io", "write_bytes:")
		tasks, _ := filepath.Glob(dir + "task/*/status")
		for _, t := range tasks {
			u.switches += field(t, "voluntary_ctxt_switches:") + field(t, "nonvoluntary_ctxt_switches:")
		}
	}
	return u
}

// daemonAnon is the anonymous memory of the daemon alone, in MiB.
func (b *bench) daemonAnon() float64 {
	return field(fmt.Sprintf("/proc/%d/smaps_rollup", b.node.PID()), "Anonymous:") / 1024
}

// cpu is the CPU time of all of skiff's processes.
func (b *bench) cpu() time.Duration {
	var sum time.Duration
	for _, pid := range b.skiffs() {
		sum += cpuOf(pid)
	}
	return sum
}

// daemonCPU is the CPU time of the daemon without the processes that it started.
func (b *bench) daemonCPU() time.Duration { return times(b.node.PID(), 2) }

// cpuOf is the CPU time of a process and of those it started and waited for.
func cpuOf(pid int) time.Duration { return times(pid, 4) }

// times adds up the first n of utime, stime, cutime and cstime.
func times(pid, n int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	var sum time.Duration
	for _, f := range fields[11 : 11+n] {
		n, _ := strconv.Atoi(string(f))
		sum += time.Duration(n) * tick
	}
	return sum
}

// ownCPU is the CPU time of the benchmark itself, which is mostly client-go.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// field reads the number after a name at the start of a line.
func field(file, name string) float64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok {
			v, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return v
		}
	}
	return 0
}

// syncs counts fsync and fdatasync of the daemon for a while, with strace.
func (b *bench) syncs(ctx context.Context, d time.Duration) (float64, error) {
	cmd := exec.Command("strace", "-c", "-f", "-e", "trace=fsync,fdatasync", "-p", strconv.Itoa(b.node.PID()))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pause(ctx, d)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		return 0, err
	}
	_ = cmd.Wait() // strace ends with the signal's status
	var n float64
	for line := range strings.Lines(out.String()) {
		// % time, seconds, µs a call, calls, perhaps errors, name
		if f := strings.Fields(line); len(f) >= 5 && strings.HasSuffix(f[len(f)-1], "sync") {
			calls, _ := strconv.ParseFloat(f[3], 64)
			n += calls
		}
	}
	return n * time.Minute.Seconds() / d.Seconds(), nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
