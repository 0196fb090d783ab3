package testbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Leftovers lists what the box still has in the kernel: processes, mounts, cgroups and network namespaces. Links and rules go with
// their namespaces. It is empty after Close.
func (b *Box) Leftovers() (left []string) {
	for _, find := range []func() []string{b.processes, b.mounts, b.cgroups, b.namespaces} {
		left = append(left, find()...)
	}
	return left
}

// settled is Leftovers after a moment for what is just ending.
func (b *Box) settled() []string {
	left := b.Leftovers()
	for end := time.Now().Add(30 * time.Second); len(left) > 0 && time.Now().Before(end); left = b.Leftovers() {
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// processes whose command line, cgroup or root lies in the box.
func (b *Box) processes() (left []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err != nil || pid == os.Getpid() {
			continue
		}
		args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil {
			continue
		}
		cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if bytes.Contains(args, []byte(b.dir+"/")) || bytes.Contains(cgroup, []byte("/"+b.name+"-")) {
			left = append(left, fmt.Sprintf("process %s: %s", filepath.Base(dir), bytes.ReplaceAll(bytes.TrimRight(args, "\x00"), []byte{0}, []byte{' '})))
		}
	}
	return left
}

func (b *Box) mounts() (left []string) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.Contains(fields[4], "/"+b.name+"-") {
			left = append(left, "mount "+fields[4])
		}
	}
	return left
}

func (b *Box) cgroups() (left []string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		dirs, _ := filepath.Glob(pattern + b.name + "-*")
		for _, dir := range dirs {
			left = append(left, "cgroup "+dir)
		}
	}
	return left
}

func (b *Box) namespaces() (left []string) {
	files, _ := filepath.Glob("/run/netns/" + b.name + "-*")
	for _, file := range files {
		left = append(left, "network namespace "+filepath.Base(file))
	}
	return left
}
