package settings

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// EventLimitType says what shares a bucket.
type EventLimitType string

// The types of limits.
const (
	EventsOfServer    EventLimitType = "Server"
	EventsOfNamespace EventLimitType = "Namespace"
	EventsOfUser      EventLimitType = "User"
	EventsOfObject    EventLimitType = "SourceAndObject"
)

var eventLimitTypes = []EventLimitType{EventsOfServer, EventsOfNamespace, EventsOfUser, EventsOfObject}

// EventLimit allows Burst events at once and QPS a second in the long run, for each key of its type.
type EventLimit struct {
	Type  EventLimitType `json:"type"`
	QPS   int32          `json:"qps"`
	Burst int32          `json:"burst"`
	// CacheSize is how many keys are remembered; 0: the plugin's own number.
	CacheSize int32 `json:"cacheSize,omitempty"`
}

func eventRateLimit(s *Settings, p part) error {
	var config struct {
		metav1.TypeMeta `json:",inline"`
		Limits          []EventLimit `json:"limits"`
	}
	if err := p.decode(&config, &config.TypeMeta, "eventratelimit.admission.k8s.io/v1alpha1 Configuration"); err != nil {
		return err
	}
	if errs := checkEventLimits(config.Limits); len(errs) > 0 {
		return errs.ToAggregate()
	}
	s.EventRateLimits = config.Limits
	return nil
}

func checkEventLimits(limits []EventLimit) (errs field.ErrorList) {
	path := field.NewPath("limits")
	if len(limits) == 0 {
		errs = append(errs, field.Invalid(path, limits, "must not be empty"))
	}
	for i, l := range limits {
		at := path.Index(i)
		if !slices.Contains(eventLimitTypes, l.Type) {
			errs = append(errs, field.NotSupported(at.Child("type"), l.Type, eventLimitTypes))
		}
		if l.Burst <= 0 {
			errs = append(errs, field.Invalid(at.Child("burst"), l.Burst, "must be positive"))
		}
		if l.QPS <= 0 {
			errs = append(errs, field.Invalid(at.Child("qps"), l.QPS, "must be positive"))
		}
		if l.Type != EventsOfServer && l.CacheSize < 0 {
			errs = append(errs, field.Invalid(at.Child("cacheSize"), l.CacheSize, "must not be negative"))
		}
	}
	return errs
}
