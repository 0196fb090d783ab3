package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/podenv"
	"codeberg.org/skiff/skiff/internal/beneath"
	"codeberg.org/skiff/skiff/runtime/container"
)

// place opens a directory of the pod's own on the node, "." for the one that holds them all. What lies there may be mounted in
// containers, which can write into it what they like.
func (w *worker) place(name string) (*beneath.Place, error) {
	pods, err := beneath.Open(w.k.cfg.Paths.Pods())
	if err != nil {
		return nil, err
	}
	defer pods.Close()
	return pods.MkdirAll(filepath.Join(string(w.uid), name), beneath.NoLinks, 0o750, nil)
}

// existing opens the pod's directory, if it is there: who writes late must not bring back the directory of a pod that is gone.
func (w *worker) existing() (*beneath.Place, error) {
	pods, err := beneath.Open(w.k.cfg.Paths.Pods())
	if err != nil {
		return nil, err
	}
	defer pods.Close()
	return pods.At(string(w.uid), beneath.NoLinks)
}

// writeNetFiles writes hosts, hostname and resolv.conf of the pod.
func (w *worker) writeNetFiles(pod *corev1.Pod) ([]container.Mount, error) {
	w.mu.Lock()
	ips := w.ips
	w.mu.Unlock()
	name, domain, uts := podenv.Hostname(pod, w.k.cfg.ClusterDomain)
	var host []byte
	if pod.Spec.HostNetwork {
		host, _ = os.ReadFile("/etc/hosts")
		if h, err := os.Hostname(); err == nil {
			uts = h
		}
	}
	resolv, _ := os.ReadFile(w.k.cfg.ResolvConf)
	dns := podenv.PodDNS(pod, podenv.ParseResolvConf(resolv), w.k.cfg.ClusterDNS, w.k.cfg.ClusterDomain)
	dir, err := w.place(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var out []container.Mount
	for _, f := range []struct{ name, dest, data string }{
		{"etc-hosts", "/etc/hosts", string(podenv.Hosts(pod, ips, name, domain, host))},
		{"hostname", "/etc/hostname", uts + "\n"},
		{"resolv.conf", "/etc/resolv.conf", dns.String()},
	} {
		// In place: containers that run have this inode mounted, and may have made it any size.
		have, err := dir.ReadFile(f.name, beneath.NoLinks, int64(len(f.data)))
		if err != nil || string(have) != f.data {
			if err := dir.WriteFile(f.name, []byte(f.data), 0o644); err != nil {
				return nil, fmt.Errorf("write %s: %w", f.name, err)
			}
		}
		out = append(out, container.Mount{Source: filepath.Join(w.dir(), f.name), Destination: f.dest})
	}
	return out, nil
}

// newMessageFile makes the file that is mounted at terminationMessagePath.
func (w *worker) newMessageFile(name string, attempt int) (string, error) {
	dir, err := w.place(filepath.Join("containers", name))
	if err != nil {
		return "", err
	}
	defer dir.Close()
	file := strconv.Itoa(attempt)
	if err := dir.RemoveAll(file); err != nil {
		return "", err
	}
	f, err := dir.Create(file, 0o666)
	if err != nil {
		return "", err
	}
	return filepath.Join(w.dir(), "containers", name, file), f.Close()
}

// readHead reads the beginning of a file that a container wrote.
func readHead(path string, n int) ([]byte, error) {
	dir, err := beneath.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.OpenFile(filepath.Base(path), beneath.NoLinks, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, n)
	got, err := f.Read(buf)
	if got > 0 {
		err = nil
	}
	return buf[:got], err
}
