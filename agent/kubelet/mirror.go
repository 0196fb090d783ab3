package kubelet

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// mirror is the API's picture of a static pod; nil if there is none.
func (k *Kubelet) mirror(pod *corev1.Pod) *corev1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mirrors[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}]
}

func isMirrorOf(m, pod *corev1.Pod) bool {
	return m.DeletionTimestamp == nil && m.Annotations[wellknown.AnnotationConfigMirror] == pod.Annotations[wellknown.AnnotationConfigHash]
}

// sendMirror makes the mirror of a static pod, replacing one that shows another pod, and writes its status.
func (k *Kubelet) sendMirror(ctx context.Context, pod *corev1.Pod, st corev1.PodStatus) (*corev1.Pod, error) {
	m := k.mirror(pod)
	if m != nil && !isMirrorOf(m, pod) {
		if err := k.deleteMirror(ctx, pod); err != nil {
			return nil, err
		}
		m = nil
	}
	if m == nil {
		var err error
		if m, err = k.createMirror(ctx, pod); err != nil {
			return nil, err
		}
	}
	// A node's mirror is never gone for good while the file is there: it is made again on the next try.
	got, err := k.sendStatus(ctx, m, st)
	if err == nil {
		k.mu.Lock()
		k.mirrors[types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}] = got
		k.mu.Unlock()
	} else if err == errPodGone {
		k.mu.Lock()
		delete(k.mirrors, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
		k.mu.Unlock()
		err = apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)
	}
	return got, err
}

// sweepMirrors deletes the mirrors of static pods whose file is gone, which went while the agent was stopped: no worker knows of them.
func (k *Kubelet) sweepMirrors() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.heardAPI || !k.heardFiles || k.ctx == nil || k.ctx.Err() != nil {
		return
	}
	known := map[types.NamespacedName]bool{}
	for _, w := range k.pods {
		if w.static {
			namespace, name, _ := strings.Cut(w.title, "/")
			known[types.NamespacedName{Namespace: namespace, Name: name}] = true
		}
	}
	for name, m := range k.mirrors {
		if known[name] || k.sweeping[m.UID] {
			continue
		}
		k.sweeping[m.UID] = true
		ctx := k.ctx
		k.wg.Go(func() { k.deleteLeftMirror(ctx, m) })
	}
}

// deleteLeftMirror tries until the mirror is gone.
func (k *Kubelet) deleteLeftMirror(ctx context.Context, m *corev1.Pod) {
	defer func() {
		k.mu.Lock()
		delete(k.sweeping, m.UID)
		k.mu.Unlock()
	}()
	k.cfg.Log.Info("deleting the mirror of a static pod whose file is gone", "pod", m.Namespace+"/"+m.Name)
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		zero := int64(0)
		err := k.cfg.Client.CoreV1().Pods(m.Namespace).Delete(ctx, m.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: metav1.NewUIDPreconditions(string(m.UID))})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		k.cfg.Log.Warn("cannot delete the mirror of a static pod whose file is gone", "pod", m.Namespace+"/"+m.Name, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func (k *Kubelet) createMirror(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	m := pod.DeepCopy()
	m.UID, m.ResourceVersion = "", ""
	m.Annotations[wellknown.AnnotationConfigMirror] = pod.Annotations[wellknown.AnnotationConfigHash]
	if n := k.node.object(); n != nil {
		yes := true
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID, Controller: &yes}}
	}
	got, err := k.cfg.Client.CoreV1().Pods(pod.Namespace).Create(ctx, m, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return k.cfg.Client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	}
	return got, err
}

func (k *Kubelet) deleteMirror(ctx context.Context, pod *corev1.Pod) error {
	m := k.mirror(pod)
	if m == nil {
		return nil
	}
	zero := int64(0)
	err := k.cfg.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: metav1.NewUIDPreconditions(string(m.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	k.mu.Lock()
	delete(k.mirrors, types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name})
	k.mu.Unlock()
	return nil
}
