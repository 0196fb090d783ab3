package client

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
)

const (
	recorderQueue  = 2_000 // events waiting to be written; more are dropped, as upstream does
	recorderMemory = 4_096 // series remembered, to count repetitions instead of storing each
)

// Recorder writes Events behind the backs of the loops that tell them: best effort, in order, repetitions counted.
type Recorder struct {
	client *Client
	now    func() time.Time
	log    *slog.Logger
	queue  chan note
	series map[series]*corev1.Event
}

type series struct {
	uid                              types.UID
	component, kind, reason, message string
}

type note struct {
	series
	gvk             schema.GroupVersionKind
	namespace, name string
	resourceVersion string
	manager         string // of the fields
	at              time.Time
}

// NewRecorder makes one that writes as c's user. Run must run for anything to be written.
func NewRecorder(c *Client, now func() time.Time, log *slog.Logger) *Recorder {
	return &Recorder{client: c, now: now, log: log, queue: make(chan note, recorderQueue), series: map[series]*corev1.Event{}}
}

// WithRecorder returns the same client, whose Event method tells r.
func (c *Client) WithRecorder(r *Recorder) *Client {
	other := *c
	other.recorder = r
	return &other
}

// Event tells that something happened to obj: kind is Normal or Warning, reason a CamelCase word. It never blocks.
func (c *Client) Event(obj api.Object, kind, reason, format string, args ...any) {
	k := c.KindOf(obj)
	if c.recorder == nil || k == nil {
		return
	}
	n := note{
		series:    series{uid: obj.GetUID(), component: c.component(), kind: kind, reason: reason, message: fmt.Sprintf(format, args...)},
		gvk:       k.GVK(),
		namespace: obj.GetNamespace(), name: obj.GetName(), resourceVersion: obj.GetResourceVersion(),
		manager: c.manager(), at: c.recorder.now(),
	}
	select {
	case c.recorder.queue <- n:
	default:
	}
}

// Run writes until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-r.queue:
			if err := r.write(ctx, n); err != nil && ctx.Err() == nil {
				r.log.Debug("event not recorded", "reason", n.reason, "object", n.namespace+"/"+n.name, "error", err)
			}
		}
	}
}

func (r *Recorder) write(ctx context.Context, n note) error {
	as := *r.client
	as.fieldManager = n.manager
	if known := r.series[n.series]; known != nil {
		next, err := as.Mutate(ctx, known, "", func(obj api.Object) error {
			event := obj.(*corev1.Event)
			event.Count++
			event.LastTimestamp = metav1.NewTime(n.at)
			return nil
		})
		if err == nil {
			r.series[n.series] = next.(*corev1.Event)
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	out, err := as.Create(ctx, n.event())
	if err != nil {
		return err
	}
	if len(r.series) >= recorderMemory {
		clear(r.series)
	}
	r.series[n.series] = out.(*corev1.Event)
	return nil
}

func (n note) event() *corev1.Event {
	namespace := n.namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	at := metav1.NewTime(n.at)
	apiVersion, kind := n.gvk.ToAPIVersionAndKind()
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", n.name, n.at.UnixNano())},
		InvolvedObject: corev1.ObjectReference{APIVersion: apiVersion, Kind: kind, Namespace: n.namespace, Name: n.name,
			UID: n.uid, ResourceVersion: n.resourceVersion},
		Type: n.kind, Reason: n.reason, Message: n.message,
		Source:         corev1.EventSource{Component: n.component},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
		ReportingController: n.component,
	}
}
