package api

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
)

// EventTTL is how long an event is kept unless the server says otherwise.
const EventTTL = time.Hour

// event is one store behind two APIs: core/v1, in which events are held, and events.k8s.io/v1.
func event() *Kind {
	newer := typed[eventsv1.Event, eventsv1.EventList]("events.k8s.io", "v1")
	newer.ToHub = func(o Object) (Object, error) { return coreEvent(o.(*eventsv1.Event).DeepCopy()), nil }
	newer.FromHub = func(o Object) (Object, error) { return newEvent(o.(*corev1.Event).DeepCopy()), nil }
	return &Kind{
		Kind: "Event", Plural: "events", Singular: "event", ShortNames: []string{"ev"}, Namespaced: true,
		Versions: []Version{typed[corev1.Event, corev1.EventList]("", "v1"), newer},
		Prefix:   "/registry/events",
		TTL:      func(Object) time.Duration { return EventTTL },
		Strategy: Strategy{
			Validate:                 one(validateEvent),
			ValidateUpdate:           pair(validateEventUpdate),
			AllowCreateOnUpdate:      true,
			AllowUnconditionalUpdate: true,
		},
		Columns:    eventColumns(),
		Fields:     one(eventFields),
		FieldNames: eventFieldNames,
		Indexes: []Index{{Name: "involvedObject.uid", Values: one(func(e *corev1.Event) []string {
			if e.InvolvedObject.UID == "" {
				return nil
			}
			return []string{string(e.InvolvedObject.UID)}
		})}},
	}
}

func coreEvent(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		TypeMeta: e.TypeMeta, ObjectMeta: e.ObjectMeta,
		InvolvedObject: e.Regarding, Related: e.Related,
		Reason: e.Reason, Message: e.Note, Type: e.Type, Action: e.Action,
		EventTime: e.EventTime, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Source: e.DeprecatedSource, FirstTimestamp: e.DeprecatedFirstTimestamp, LastTimestamp: e.DeprecatedLastTimestamp,
		Count: e.DeprecatedCount,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	if e.Kind != "" {
		out.SetGroupVersionKind(core("Event"))
	}
	return out
}

func newEvent(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		TypeMeta: e.TypeMeta, ObjectMeta: e.ObjectMeta,
		Regarding: e.InvolvedObject, Related: e.Related,
		Reason: e.Reason, Note: e.Message, Type: e.Type, Action: e.Action,
		EventTime: e.EventTime, ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
		DeprecatedCount: e.Count,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	if e.Kind != "" {
		out.SetGroupVersionKind(eventsv1.SchemeGroupVersion.WithKind("Event"))
	}
	return out
}

// eventFieldNames: the core API's names, and what events.k8s.io calls the same fields.
var eventFieldNames = []string{
	"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
	"involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
	"regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid",
	"regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath",
	"reason", "reportingComponent", "reportingController", "source", "type",
}

func eventFields(e *corev1.Event) fields.Set {
	source := e.Source.Component
	blank(&source, e.ReportingController)
	set := fields.Set{
		"reason": e.Reason, "type": e.Type, "source": source,
		"reportingComponent": e.ReportingController, "reportingController": e.ReportingController,
	}
	o := e.InvolvedObject
	for _, p := range []string{"involvedObject.", "regarding."} {
		set[p+"kind"], set[p+"namespace"], set[p+"name"], set[p+"uid"] = o.Kind, o.Namespace, o.Name, string(o.UID)
		set[p+"apiVersion"], set[p+"resourceVersion"], set[p+"fieldPath"] = o.APIVersion, o.ResourceVersion, o.FieldPath
	}
	return set
}

func eventColumns() []Column {
	seen := func(name, description string, pick func(first, last time.Time) time.Time) Column {
		return col(name, "string", description, func(e *corev1.Event, now time.Time) any {
			return since(pick(eventTimes(e)), now)
		})
	}
	name := wide(str("Name", "name of the event", func(e *corev1.Event) string { return e.Name }))
	name.Format = "name"
	count := wide(tally("Count", "how often it was seen", eventCount))
	return []Column{
		seen("Last Seen", "time since it was last seen", func(_, last time.Time) time.Time { return last }),
		str("Type", "Normal or Warning", func(e *corev1.Event) string { return e.Type }),
		str("Reason", "why, in one word", func(e *corev1.Event) string { return e.Reason }),
		str("Object", "object it is about", func(e *corev1.Event) string {
			kind := strings.ToLower(e.InvolvedObject.Kind)
			if e.InvolvedObject.Name == "" {
				return kind
			}
			return kind + "/" + e.InvolvedObject.Name
		}),
		wide(str("Subobject", "part of the object it is about", func(e *corev1.Event) string { return e.InvolvedObject.FieldPath })),
		wide(str("Source", "who reported it", eventSource)),
		str("Message", "what happened", func(e *corev1.Event) string { return strings.TrimSpace(e.Message) }),
		wide(seen("First Seen", "time since it was first seen", func(first, _ time.Time) time.Time { return first })),
		count, name,
	}
}

// eventTimes returns when an event was first and last seen, by whichever of its two generations of fields say so.
func eventTimes(e *corev1.Event) (first, last time.Time) {
	first, last = e.FirstTimestamp.Time, e.LastTimestamp.Time
	if first.IsZero() {
		first = e.EventTime.Time
	}
	if last.IsZero() {
		last = first
	}
	if e.Series != nil {
		last = e.Series.LastObservedTime.Time
	}
	return first, last
}

func eventCount(e *corev1.Event) int32 {
	switch {
	case e.Series != nil:
		return e.Series.Count
	case e.Count == 0:
		return 1
	}
	return e.Count
}

func eventSource(e *corev1.Event) string {
	component, instance := e.Source.Component, e.Source.Host
	blank(&component, e.ReportingController)
	blank(&instance, e.ReportingInstance)
	if instance == "" {
		return component
	}
	return fmt.Sprintf("%s, %s", component, instance)
}

// Limits of an event in the new form, the one with an eventTime.
const (
	maxInstance = 128
	maxAction   = 128
	maxReason   = 128
	maxNote     = 1024
)

func validateEvent(e *corev1.Event) fieldErrors {
	c := &check{}
	c.eventNamespace(e)
	if e.EventTime.IsZero() {
		return c.errs // the old form: anything goes
	}
	if c.needs(at("reportingController"), e.ReportingController) {
		c.invalid(at("reportingController"), e.ReportingController, validation.IsQualifiedName(e.ReportingController)...)
	}
	limit := func(name, value string, max int) {
		if len(value) > max {
			c.invalid(at(name), "", fmt.Sprintf("can have at most %d characters", max))
		}
	}
	for _, f := range []struct {
		name, value string
		max         int
	}{{"reportingInstance", e.ReportingInstance, maxInstance}, {"action", e.Action, maxAction}, {"reason", e.Reason, maxReason}} {
		c.needs(at(f.name), f.value)
		limit(f.name, f.value, f.max)
	}
	limit("message", e.Message, maxNote)
	if s := e.Series; s != nil {
		if s.Count < 2 {
			c.invalid(at("series.count"), "", "should be at least 2")
		}
		if s.LastObservedTime.IsZero() {
			c.required(at("series.lastObservedTime"), "")
		}
	}
	return c.errs
}

// eventNamespace: an event lies where its object lies; events of what has no namespace lie in default (or, in the new
// form, in kube-system).
func (c *check) eventNamespace(e *corev1.Event) {
	ns := e.InvolvedObject.Namespace
	ok := ns == e.Namespace
	if ns == "" {
		ok = e.Namespace == "" || e.Namespace == "default" || e.Namespace == "kube-system" && !e.EventTime.IsZero()
	}
	if !ok {
		c.invalid(at("involvedObject", "namespace"), ns, "does not match event.namespace")
	}
}

func validateEventUpdate(e, old *corev1.Event) fieldErrors {
	c := &check{errs: validateEvent(e)}
	if e.EventTime.IsZero() || old.EventTime.IsZero() {
		return c.errs
	}
	c.immutable(at("involvedObject"), e.InvolvedObject, old.InvolvedObject)
	c.immutable(at("reason"), e.Reason, old.Reason)
	c.immutable(at("message"), e.Message, old.Message)
	c.immutable(at("reportingController"), e.ReportingController, old.ReportingController)
	c.immutable(at("reportingInstance"), e.ReportingInstance, old.ReportingInstance)
	c.immutable(at("action"), e.Action, old.Action)
	c.immutable(at("eventTime"), e.EventTime.UnixMicro(), old.EventTime.UnixMicro())
	c.immutable(at("type"), e.Type, old.Type)
	return c.errs
}
