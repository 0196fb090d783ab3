package kubelet

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

type ioWriter = io.Writer

// recorder writes events, best effort: similar ones are counted, floods are dropped, none holds up a pod.
type recorder struct {
	client      kubernetes.Interface
	node        string
	nodeUID     func() types.UID
	broadcaster record.EventBroadcaster
	r           record.EventRecorder
}

func newRecorder(client kubernetes.Interface, node string, uid func() types.UID) *recorder {
	r := &recorder{client: client, node: node, nodeUID: uid}
	if client != nil {
		r.broadcaster = record.NewBroadcaster()
		r.r = r.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node})
	}
	return r
}

func (r *recorder) run(ctx context.Context) error {
	if r.client == nil {
		<-ctx.Done()
		return nil
	}
	w := r.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: r.client.CoreV1().Events("")})
	<-ctx.Done()
	w.Stop()
	r.broadcaster.Shutdown()
	return nil
}

func (r *recorder) pod(p *corev1.Pod, kind, reason, format string, args ...any) {
	r.to(&corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion}, kind, reason, format, args...)
}

// container records an event about one container of the pod.
func (r *recorder) container(p *corev1.Pod, name, severity, reason, format string, args ...any) {
	path := "spec.containers{" + name + "}"
	each(p, func(c *corev1.Container, k kind) {
		if c.Name == name && k == initial {
			path = "spec.initContainers{" + name + "}"
		} else if c.Name == name && k == ephemeral {
			path = "spec.ephemeralContainers{" + name + "}"
		}
	})
	r.to(&corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion, FieldPath: path}, severity, reason, format, args...)
}

// onNode records an event about the node.
func (r *recorder) onNode(kind, reason, format string, args ...any) {
	uid := r.nodeUID()
	if uid == "" {
		uid = types.UID(r.node) // it is not registered yet
	}
	r.to(&corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: r.node, UID: uid}, kind, reason, format, args...)
}

func (r *recorder) to(ref *corev1.ObjectReference, kind, reason, format string, args ...any) {
	if r.r != nil {
		r.r.Event(ref, kind, reason, fmt.Sprintf(format, args...))
	}
}
