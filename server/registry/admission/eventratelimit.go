package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/utils/lru"

	"golang.org/x/time/rate"

	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/settings"
)

// eventBuckets is how many namespaces, users or objects a limit remembers unless its configuration says so.
const eventBuckets = 4096

// eventRateLimit bounds how many events are written, so that one noisy program does not fill the store.
func eventRateLimit(c *Config) (registry.Plugin, error) {
	limits := c.Settings.EventRateLimits
	if len(limits) == 0 {
		return registry.Plugin{}, errors.New("admission plugin EventRateLimit has no limits: give it a configuration with --admission-control-config-file")
	}
	var all []*eventLimit
	for _, l := range limits {
		all = append(all, newEventLimit(l))
	}
	return registry.Plugin{Name: "EventRateLimit", Validate: func(_ context.Context, a *registry.Attributes) error {
		if a.Kind.Kind != "Event" || a.Kind.Group != "" && a.Kind.Group != "events.k8s.io" || a.DryRun || a.Verb != registry.VerbCreate && a.Verb != registry.VerbUpdate {
			return nil
		}
		var errs []error
		for _, l := range all {
			if key := l.key(a); !l.allow(key, c.now()) {
				errs = append(errs, fmt.Errorf("limit reached on type %v for key %v", l.of, key))
			}
		}
		if err := utilerrors.NewAggregate(errs); err != nil {
			return apierrors.NewTooManyRequestsError(err.Error())
		}
		return nil
	}}, nil
}

// eventLimit is one limit, with a bucket for each key; the least used keys are forgotten.
type eventLimit struct {
	of      settings.EventLimitType
	key     func(a *registry.Attributes) string
	make    func() *rate.Limiter
	buckets *lru.Cache
}

func newEventLimit(l settings.EventLimit) *eventLimit {
	size := int(l.CacheSize)
	if size == 0 {
		size = eventBuckets
	}
	return &eventLimit{of: l.Type, key: eventKeys[l.Type], buckets: lru.New(size),
		make: func() *rate.Limiter { return rate.NewLimiter(rate.Limit(l.QPS), int(l.Burst)) }}
}

func (l *eventLimit) allow(key string, now time.Time) bool {
	bucket, ok := l.buckets.Get(key)
	if !ok {
		// Of two at once one bucket stays; the other's single event is forgotten.
		bucket = l.make()
		l.buckets.Add(key, bucket)
	}
	return bucket.(*rate.Limiter).AllowN(now, 1)
}

var eventKeys = map[settings.EventLimitType]func(a *registry.Attributes) string{
	settings.EventsOfServer:    func(*registry.Attributes) string { return "" },
	settings.EventsOfNamespace: func(a *registry.Attributes) string { return a.Namespace },
	settings.EventsOfUser: func(a *registry.Attributes) string {
		if a.User == nil {
			return ""
		}
		return a.User.GetName()
	},
	settings.EventsOfObject: func(a *registry.Attributes) string {
		source, about := eventSubject(a)
		return strings.Join([]string{source.Component, source.Host, about.Kind, about.Namespace, about.Name, string(about.UID), about.APIVersion}, "")
	},
}

// eventSubject is who tells of what, in either of the two forms of an event.
func eventSubject(a *registry.Attributes) (corev1.EventSource, corev1.ObjectReference) {
	switch e := a.Object.(type) {
	case *corev1.Event:
		return e.Source, e.InvolvedObject
	case *eventsv1.Event:
		return corev1.EventSource{Component: e.ReportingController, Host: e.ReportingInstance}, e.Regarding
	}
	return corev1.EventSource{}, corev1.ObjectReference{}
}
