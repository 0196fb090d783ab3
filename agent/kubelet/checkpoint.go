package kubelet

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const checkpointFile = "pod.json"

// checkpoint keeps the pod on disk, when what matters after a reboot has changed: its spec, phase, or restart counts.
func (w *worker) checkpoint(pod *corev1.Pod) {
	if w.static {
		return
	}
	var b strings.Builder
	fmt.Fprint(&b, pod.Generation, pod.Status.Phase, pod.DeletionTimestamp != nil)
	for i := range pod.Status.ContainerStatuses {
		fmt.Fprint(&b, " ", pod.Status.ContainerStatuses[i].RestartCount)
	}
	w.mu.Lock()
	same := w.report.saved == b.String() || w.gone
	w.report.saved = b.String()
	w.mu.Unlock()
	if same {
		return
	}
	p := *pod
	p.ManagedFields = nil
	if err := writeJSON(filepath.Join(w.dir(), checkpointFile), &p); err != nil && !os.IsNotExist(err) {
		w.k.cfg.Log.Warn("cannot write the checkpoint of a pod", "pod", w.name(), "err", err)
	}
}

// writeJSON replaces the file in one step.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// readCheckpoints returns the pods that were on this node; a damaged file is set aside.
func (k *Kubelet) readCheckpoints() (out []*corev1.Pod) {
	files, _ := filepath.Glob(filepath.Join(k.cfg.Paths.Pods(), "*", checkpointFile))
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		p := &corev1.Pod{}
		if err := json.Unmarshal(data, p); err != nil || string(p.UID) != filepath.Base(filepath.Dir(f)) || len(p.Spec.Containers) == 0 {
			k.cfg.Log.Warn("a damaged checkpoint is set aside", "file", f, "err", err)
			os.Rename(f, f+".damaged")
			continue
		}
		if p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out
}
