package kubelet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/beneath"
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
	if err := w.writeCheckpoint(&p); err != nil && !os.IsNotExist(err) {
		w.k.cfg.Log.Warn("cannot write the checkpoint of a pod", "pod", w.name(), "err", err)
	}
}

// writeCheckpoint replaces the file in one step.
func (w *worker) writeCheckpoint(p *corev1.Pod) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	dir, err := w.existing()
	if err != nil {
		return err
	}
	defer dir.Close()
	const temp = "." + checkpointFile
	if err := dir.RemoveAll(temp); err != nil {
		return err
	}
	if err := dir.WriteFile(temp, data, 0o600); err != nil {
		return err
	}
	return dir.Rename(temp, checkpointFile)
}

// maxCheckpoint is larger than any pod that the API takes, in bytes.
const maxCheckpoint = 16 << 20

// readCheckpoints returns the pods that were on this node; a damaged file is set aside.
func (k *Kubelet) readCheckpoints() (out []*corev1.Pod) {
	pods, err := beneath.Open(k.cfg.Paths.Pods())
	if err != nil {
		return nil // the node has had none
	}
	defer pods.Close()
	uids, _ := pods.Names()
	for _, uid := range uids {
		p, err := k.readCheckpoint(pods, uid)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			k.cfg.Log.Warn("a damaged checkpoint is set aside", "pod", uid, "err", err)
		}
		if p != nil && p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out
}

func (k *Kubelet) readCheckpoint(pods *beneath.Place, uid string) (*corev1.Pod, error) {
	dir, err := pods.At(uid, beneath.NoLinks)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	data, err := dir.ReadFile(checkpointFile, beneath.NoLinks, maxCheckpoint)
	if errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	p := &corev1.Pod{}
	if err == nil {
		err = json.Unmarshal(data, p)
	}
	if err == nil && (string(p.UID) != uid || len(p.Spec.Containers) == 0) {
		err = errors.New("it is not of this pod")
	}
	if err != nil {
		return nil, errors.Join(err, dir.Rename(checkpointFile, checkpointFile+".damaged"))
	}
	return p, nil
}
