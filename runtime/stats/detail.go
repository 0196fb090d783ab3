package stats

import (
	"path/filepath"
	"strings"
)

// Detail is what monitoring wants to know of a cgroup beside its Usage. What the hierarchy of this machine does not tell is zero.
type Detail struct {
	CPUUserNanos, CPUSystemNanos                uint64
	CPUPeriods, CPUThrottled, CPUThrottledNanos uint64
	CPUShares, CPUQuota, CPUPeriod              uint64 // CPUQuota 0: none
	Cache, MappedFile, Kernel                   uint64
	MaxUsage, Failures, OOMKills                uint64
	Threads, ThreadsMax, Processes              uint64 // ThreadsMax 0: no limit
	ReadBytes, WriteBytes, Reads, Writes        uint64
}

// unlimited is above every limit that means something: cgroup v1 shows no limit as nearly 2^63.
const unlimited = uint64(1) << 60

// CgroupDetail reads the details of a cgroup. paths are as for [Cgroup].
func CgroupDetail(paths map[string]string) Detail {
	if dir, v1 := paths["memory"]; v1 {
		return detail1(paths, dir)
	}
	return detail2(paths[""])
}

func limit(n uint64) uint64 {
	if n >= unlimited {
		return 0
	}
	return n
}

func detail2(dir string) (d Detail) {
	file := func(name string) string { return filepath.Join(dir, name) }
	cpu, _ := keyed(file("cpu.stat"))
	d.CPUUserNanos, d.CPUSystemNanos = cpu["user_usec"]*1000, cpu["system_usec"]*1000
	d.CPUPeriods, d.CPUThrottled, d.CPUThrottledNanos = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_usec"]*1000
	if weight := number(file("cpu.weight")); weight > 0 {
		d.CPUShares = 2 + (weight-1)*262142/9999
	}
	if f := strings.Fields(text(file("cpu.max"))); len(f) == 2 {
		d.CPUQuota, d.CPUPeriod = parse(f[0]), parse(f[1])
	}
	memory, _ := keyed(file("memory.stat"))
	d.Cache, d.MappedFile, d.Kernel = memory["file"], memory["file_mapped"], memory["kernel"]
	d.MaxUsage = number(file("memory.peak"))
	events, _ := keyed(file("memory.events"))
	d.Failures, d.OOMKills = events["max"], events["oom_kill"]
	d.Threads, d.ThreadsMax = number(file("pids.current")), number(file("pids.max"))
	d.Processes = lines(file("cgroup.procs"))
	for line := range strings.Lines(text(file("io.stat"))) { // 8:0 rbytes=… wbytes=… rios=… wios=…
		for _, f := range strings.Fields(line) {
			switch key, value, _ := strings.Cut(f, "="); key {
			case "rbytes":
				d.ReadBytes += parse(value)
			case "wbytes":
				d.WriteBytes += parse(value)
			case "rios":
				d.Reads += parse(value)
			case "wios":
				d.Writes += parse(value)
			}
		}
	}
	return d
}

func detail1(paths map[string]string, memoryDir string) (d Detail) {
	file := func(name string) string { return filepath.Join(memoryDir, name) }
	acct, _ := keyed(filepath.Join(paths["cpuacct"], "cpuacct.stat"))
	d.CPUUserNanos, d.CPUSystemNanos = acct["user"]*10_000_000, acct["system"]*10_000_000 // USER_HZ is 100 for every Linux user space
	cpu, _ := keyed(filepath.Join(paths["cpu"], "cpu.stat"))
	d.CPUPeriods, d.CPUThrottled, d.CPUThrottledNanos = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_time"]
	d.CPUShares = number(filepath.Join(paths["cpu"], "cpu.shares"))
	d.CPUQuota, d.CPUPeriod = number(filepath.Join(paths["cpu"], "cpu.cfs_quota_us")), number(filepath.Join(paths["cpu"], "cpu.cfs_period_us"))
	memory, _ := keyed(file("memory.stat"))
	d.Cache, d.MappedFile = memory["total_cache"], memory["total_mapped_file"]
	d.Kernel = number(file("memory.kmem.usage_in_bytes"))
	d.MaxUsage, d.Failures = number(file("memory.max_usage_in_bytes")), number(file("memory.failcnt"))
	oom, _ := keyed(file("memory.oom_control"))
	d.OOMKills = oom["oom_kill"]
	d.Threads, d.ThreadsMax = number(filepath.Join(paths["pids"], "pids.current")), number(filepath.Join(paths["pids"], "pids.max"))
	d.Processes = lines(filepath.Join(memoryDir, "cgroup.procs"))
	d.ReadBytes, d.WriteBytes = blkio(filepath.Join(paths["blkio"], "blkio.throttle.io_service_bytes_recursive"))
	d.Reads, d.Writes = blkio(filepath.Join(paths["blkio"], "blkio.throttle.io_serviced_recursive"))
	return d
}

// blkio sums lines of "8:0 Read 4096".
func blkio(path string) (read, write uint64) {
	for line := range strings.Lines(text(path)) {
		if f := strings.Fields(line); len(f) == 3 && f[1] == "Read" {
			read += parse(f[2])
		} else if len(f) == 3 && f[1] == "Write" {
			write += parse(f[2])
		}
	}
	return read, write
}
