// Package notacted tells of objects on which nothing acts yet: an event on each new one says what will not happen, as the Warning header did to
// whoever made it. What that is, package fields lists; when a row goes there, so do its events.
package notacted

import (
	"context"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"codeberg.org/skiff/skiff/internal/fields"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// Reason of the events.
const Reason = "NotActedOn"

// watched is one kind that may have something to tell.
type watched struct {
	group, kind string
	example     api.Object
	get         func(s client.Snapshot, namespace, name string) (api.Object, bool)
}

func of[T api.Object](group, kind string, example T) watched {
	return watched{group, kind, example, func(s client.Snapshot, namespace, name string) (api.Object, bool) {
		return client.Get[T](s, namespace, name)
	}}
}

var kinds = []watched{
	of("", "Pod", &corev1.Pod{}),
	of("", "Service", &corev1.Service{}),
	of("", "PersistentVolumeClaim", &corev1.PersistentVolumeClaim{}),
	of("networking.k8s.io", "NetworkPolicy", &networkingv1.NetworkPolicy{}),
	of("autoscaling", "HorizontalPodAutoscaler", &autoscalingv2.HorizontalPodAutoscaler{}),
}

// New returns the controller; its keys are "kind/namespace/name". Objects from before it was made were told of by an earlier run.
func New(now func() time.Time) controller.Controller {
	since := now().Truncate(time.Second)
	c := controller.Controller{
		Name: "not-acted-on-controller",
		Reconcile: func(_ context.Context, c *client.Client, key string) (controller.Result, error) {
			tell(c, key)
			return controller.Result{}, nil
		},
	}
	for _, k := range kinds {
		c.Inputs = append(c.Inputs, controller.Input{Kind: k.example, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if e.Type != store.Added || e.Object.GetCreationTimestamp().Time.Before(since) || len(fields.Warnings(k.group, k.kind, e.Object)) == 0 {
				return nil
			}
			return []string{k.kind + "/" + e.Object.GetNamespace() + "/" + e.Object.GetName()}
		}})
	}
	return c
}

func tell(c *client.Client, key string) {
	kind, rest, _ := strings.Cut(key, "/")
	namespace, name, _ := strings.Cut(rest, "/")
	for _, k := range kinds {
		if k.kind != kind {
			continue
		}
		if obj, ok := k.get(c.Snapshot(), namespace, name); ok {
			for _, text := range fields.Warnings(k.group, k.kind, obj) {
				c.Event(obj, corev1.EventTypeWarning, Reason, "%s", text)
			}
		}
	}
}
