package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/beneath"
	"codeberg.org/skiff/skiff/runtime/container"
)

// Names below the log directory. A program that collects logs often has that directory mounted with write access, so everything in it
// is reached through a descriptor of it.
const (
	podLogs       = "pods"
	containerLogs = "containers"
)

// logRoot opens the log directory, which is made if need be.
func (k *Kubelet) logRoot() (*os.Root, error) {
	root, err := os.OpenRoot(k.cfg.Paths.Log)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(k.cfg.Paths.Log, 0o755); err != nil {
			return nil, err
		}
		root, err = os.OpenRoot(k.cfg.Paths.Log)
	}
	return root, err
}

// makeDirs makes the directories of the pod and its logs.
func (w *worker) makeDirs() error {
	root, err := w.k.logRoot()
	if err != nil {
		return fmt.Errorf("make a directory of the pod: %w", err)
	}
	defer root.Close()
	if err := os.MkdirAll(w.k.cfg.Paths.Pods(), 0o750); err != nil {
		return fmt.Errorf("make a directory of the pod: %w", err)
	}
	dir, err := w.place(".")
	if err != nil {
		return fmt.Errorf("make a directory of the pod: %w", err)
	}
	dir.Close()
	for _, d := range []string{filepath.Join(podLogs, filepath.Base(w.logDir())), containerLogs} {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make a directory of the pod: %w", err)
		}
	}
	return nil
}

// linkLog makes the symlink that log collectors follow.
func (w *worker) linkLog(pod *corev1.Pod, name string, c container.Container) {
	root, err := w.k.logRoot()
	if err == nil {
		defer root.Close()
		link := fmt.Sprintf("%s_%s_%s-%s.log", pod.Name, pod.Namespace, name, c.Spec.ID)
		err = root.Symlink(c.Spec.LogPath, filepath.Join(containerLogs, link))
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		w.k.cfg.Log.Warn("cannot link a log", "pod", w.name(), "container", name, "err", err)
	}
}

// removeLogs removes the pod's logs and the links to them.
func (w *worker) removeLogs() error {
	root, err := w.k.logRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	unlink(root, func(to string) bool { return strings.HasPrefix(to, w.logDir()+"/") })
	return removeLogDir(root, filepath.Base(w.logDir()))
}

func removeLogDir(root *os.Root, name string) error {
	at, err := openIn(root, podLogs)
	if err != nil {
		return ignoreMissing(err)
	}
	defer at.Close()
	return at.RemoveAll(name)
}

// openIn opens a directory below an os.Root as a place, following no link.
func openIn(root *os.Root, name string) (*beneath.Place, error) {
	at, err := beneath.Open(root.Name())
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return at.At(name, beneath.NoLinks)
}

// unlink removes the links to logs that lead where told.
func unlink(root *os.Root, gone func(to string) bool) {
	entries, _ := fs.ReadDir(root.FS(), containerLogs)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".log") {
			continue
		}
		link := filepath.Join(containerLogs, e.Name())
		if to, err := root.Readlink(link); err == nil && gone(to) {
			_ = root.Remove(link)
		}
	}
}

// sweepLogs removes logs of pods that are gone, and links that lead nowhere.
func (k *Kubelet) sweepLogs(known map[types.UID]bool) {
	root, err := k.logRoot()
	if err != nil {
		k.cfg.Log.Warn("cannot look for logs of pods that are gone", "err", err)
		return
	}
	defer root.Close()
	entries, _ := fs.ReadDir(root.FS(), podLogs)
	for _, e := range entries {
		i := strings.LastIndexByte(e.Name(), '_')
		if i > 0 && strings.Count(e.Name(), "_") == 2 && !known[types.UID(e.Name()[i+1:])] {
			if err := removeLogDir(root, e.Name()); err != nil {
				k.cfg.Log.Warn("cannot remove the logs of a pod that is gone", "dir", e.Name(), "err", err)
			}
		}
	}
	unlink(root, func(to string) bool {
		rel, ours := strings.CutPrefix(to, k.cfg.Paths.Log+"/")
		if !ours || !strings.HasPrefix(rel, podLogs+"/") {
			return false
		}
		_, err := root.Lstat(rel)
		return errors.Is(err, os.ErrNotExist)
	})
}

// logUse is what a directory of logs takes.
func (k *Kubelet) logUse(ctx context.Context, dir string) use {
	rel, err := filepath.Rel(k.cfg.Paths.Log, dir)
	if err != nil {
		return use{}
	}
	log, err := beneath.Open(k.cfg.Paths.Log)
	if err != nil {
		return use{}
	}
	defer log.Close()
	at, err := log.At(rel, beneath.NoLinks)
	if err != nil {
		return use{}
	}
	defer at.Close()
	return treeUse(ctx, at)
}

// removeIn removes name in a directory of the node's own; what is mounted inside is left alone.
func removeIn(dir, name string) error {
	at, err := beneath.Open(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	defer at.Close()
	return at.RemoveAll(name)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
