package container

import (
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// host is what this daemon may give to containers. Inside another container it may lack CAP_SYS_RESOURCE; then what it
// has itself is the most it can give, and containers must start all the same.
type host struct {
	limited     bool
	oomScoreAdj int    // the lowest
	openFiles   uint64 // the most
	caps        map[string]bool
}

func askHost() host {
	h := host{}
	caps, err := capability.NewPid2(0)
	if err == nil {
		err = caps.Load()
	}
	if err == nil && caps.Get(capability.EFFECTIVE, capability.CAP_SYS_RESOURCE) {
		return h
	}
	h.limited, h.caps = true, map[string]bool{}
	for _, c := range capability.ListKnown() {
		if err == nil && caps.Get(capability.BOUNDING, c) {
			h.caps["CAP_"+strings.ToUpper(c.String())] = true
		}
	}
	if b, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		h.oomScoreAdj, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) == nil {
		h.openFiles = l.Max
	}
	return h
}

func (h host) clampOOMScoreAdj(want int) int {
	if h.limited {
		return max(want, h.oomScoreAdj)
	}
	return want
}

func (h host) clampOpenFiles(want uint64) uint64 {
	if h.limited {
		return min(want, h.openFiles)
	}
	return want
}

func (h host) clampCapabilities(want []string) []string {
	if !h.limited {
		return want
	}
	var out []string
	for _, c := range want {
		if h.caps[c] {
			out = append(out, c)
		}
	}
	return out
}
