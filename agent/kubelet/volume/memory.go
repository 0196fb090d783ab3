package volume

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/internal/beneath"
)

// leastMemory is what a pod's volumes of API objects may always take: some of the largest objects that the API stores, twice, since the
// old files stay until the new ones are complete.
const leastMemory = 64 << 20

// apiVolumes is the directory of the pod's volumes that are made of API objects: a tmpfs of the pod's own, mounted when the first such
// volume is made. The kernel charges these pages to the daemon, which writes them, so they are bounded here and counted by MemoryUse.
func (m *Manager) apiVolumes(in Input) (*beneath.Place, error) {
	m.memory.Lock()
	defer m.memory.Unlock()
	pod, err := m.memoryPod(in.Pod.UID)
	if err != nil {
		return nil, err
	}
	defer pod.Close()
	at, err := pod.MkdirAll("volumes", beneath.NoLinks, 0o755, nil)
	if err != nil || at.MountRoot() {
		return at, err
	}
	if names, err := at.Names(); err != nil || len(names) > 0 {
		return at, err // what an older version made stays where running containers see it
	}
	defer at.Close()
	if err := at.Mount("tmpfs", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0755,size=%d", apiMemory(in))); err != nil {
		return nil, err
	}
	return pod.At("volumes", beneath.NoLinks)
}

// memoryPod is the pod's directory on the tmpfs.
func (m *Manager) memoryPod(uid types.UID) (*beneath.Place, error) {
	memory, err := openRoot(m.cfg.Memory)
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	return memory.MkdirAll(string(uid), beneath.NoLinks, 0o750, nil)
}

// apiMemory bounds a pod's volumes of API objects, in bytes: its memory limit, or a tenth of what the node has for pods.
func apiMemory(in Input) int64 {
	size := podres.Pod(in.Pod, 0).MemoryLimit
	if size == 0 {
		size = in.Allocatable.Memory().Value() / 10
	}
	return max(size, leastMemory)
}

// MemoryUse is how many bytes of memory a pod's volumes of API objects take. They are in no cgroup of the pod.
func (m *Manager) MemoryUse(uid types.UID) int64 {
	memory, err := beneath.Open(m.cfg.Memory)
	if err != nil {
		return 0
	}
	defer memory.Close()
	at, err := memory.At(string(uid)+"/volumes", beneath.NoLinks)
	if err != nil {
		return 0
	}
	defer at.Close()
	var st unix.Statfs_t
	if !at.MountRoot() || unix.Statfs(at.Path(), &st) != nil {
		return 0
	}
	return int64(st.Blocks-st.Bfree) * st.Bsize
}

// Shm mounts the pod's /dev/shm and returns its path.
func (m *Manager) Shm(uid types.UID) (string, error) {
	path := filepath.Join(m.memoryDir(uid), "shm")
	pod, err := m.memoryPod(uid)
	if err != nil {
		return "", err
	}
	defer pod.Close()
	at, err := pod.MkdirAll("shm", beneath.NoLinks, 0o755, nil)
	if err != nil {
		return "", err
	}
	defer at.Close()
	if at.MountRoot() {
		return path, nil
	}
	return path, at.Mount("tmpfs", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=65536k")
}
