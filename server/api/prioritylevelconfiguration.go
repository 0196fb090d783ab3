package api

import (
	"fmt"
	"math"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

func priorityLevelConfiguration() *Kind {
	type level = *flowcontrolv1.PriorityLevelConfiguration
	queuing := func(name, description string, value func(*flowcontrolv1.QueuingConfiguration) int32) Column {
		return col(name, "string", description, func(p level, _ time.Time) any {
			if p.Spec.Limited == nil || p.Spec.Limited.LimitResponse.Queuing == nil {
				return "<none>"
			}
			return int64(value(p.Spec.Limited.LimitResponse.Queuing))
		})
	}
	return &Kind{
		Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration", Plural: "prioritylevelconfigurations",
		Singular: "prioritylevelconfiguration",
		Versions: []Version{typed[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList]("flowcontrol.apiserver.k8s.io", "v1")},
		Prefix:   "/registry/prioritylevelconfigurations",
		Strategy: Strategy{
			Default:                  do(defaultPriorityLevel),
			PrepareCreate:            created(func(p level) { p.Status = flowcontrolv1.PriorityLevelConfigurationStatus{} }),
			PrepareUpdate:            updated(func(p, old level) { p.Status = old.Status }, func(p level) any { return p.Spec }),
			Validate:                 one(validatePriorityLevel),
			ValidateUpdate:           pair(func(p, _ level) fieldErrors { return validatePriorityLevel(p) }),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{statusAlone(func(to, from level) { to.Status = from.Status }, validatePriorityLevelStatus)},
		Columns: []Column{
			str("Type", "Limited or Exempt", func(p level) string { return string(p.Spec.Type) }),
			col("NominalConcurrencyShares", "string", "its part of the server's seats", func(p level, _ time.Time) any {
				if p.Spec.Limited == nil {
					return "<none>"
				}
				return int64(deref(p.Spec.Limited.NominalConcurrencyShares))
			}),
			queuing("Queues", "number of queues", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues }),
			queuing("HandSize", "number of queues that one flow may use", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize }),
			queuing("QueueLengthLimit", "number of requests that may wait in a queue", func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit }),
			age(),
		},
	}
}

func defaultPriorityLevel(p *flowcontrolv1.PriorityLevelConfiguration) {
	if e := p.Spec.Exempt; e != nil {
		unset(&e.NominalConcurrencyShares, 0)
		unset(&e.LendablePercent, 0)
	}
	if l := p.Spec.Limited; l != nil {
		unset(&l.NominalConcurrencyShares, 30)
		unset(&l.LendablePercent, 0)
		if q := l.LimitResponse.Queuing; q != nil {
			blank(&q.HandSize, 8)
			blank(&q.Queues, 64)
			blank(&q.QueueLengthLimit, 50)
		}
	}
}

// zeroShares is an annotation by which old versions of this API kept a 0; v1 does not need it.
const zeroShares = "flowcontrol.k8s.io/preserve-zero-concurrency-shares"

func validatePriorityLevel(p *flowcontrolv1.PriorityLevelConfiguration) fieldErrors {
	c, spec, s := &check{}, at("spec"), &p.Spec
	if _, ok := p.Annotations[zeroShares]; ok {
		c.forbidden(at("metadata", "annotations"), fmt.Sprintf("annotation '%s' is forbidden", zeroShares))
	}
	if (p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		c.invalid(spec.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if s.Limited != nil {
			c.forbidden(spec.Child("limited"), "must be nil if the type is not Limited")
		}
		if s.Exempt != nil {
			c.shares(spec.Child("exempt"), s.Exempt.NominalConcurrencyShares, s.Exempt.LendablePercent)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			c.forbidden(spec.Child("exempt"), "must be nil if the type is Limited")
		}
		if s.Limited == nil {
			c.required(spec.Child("limited"), "must not be empty when type is Limited")
		} else {
			c.limited(spec.Child("limited"), s.Limited)
		}
	default:
		oneOf(c, spec.Child("type"), s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	}
	c.mandatoryLevel(p)
	return c.errs
}

// mandatoryLevel: of the levels which the server cannot do without, only the shares of "exempt" may change.
func (c *check) mandatoryLevel(p *flowcontrolv1.PriorityLevelConfiguration) {
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		if fixed.Name != p.Name {
			continue
		}
		have, words := p.Spec, "spec of '%s' must equal the fixed value"
		if p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			have.Exempt, words = fixed.Spec.Exempt, "spec of '%s' except the 'spec.exempt' field must equal the fixed value"
		}
		if !apiequality.Semantic.DeepEqual(have, fixed.Spec) {
			c.invalid(at("spec"), p.Spec, fmt.Sprintf(words, p.Name))
		}
	}
}

func (c *check) shares(at *field.Path, shares, lendable *int32) {
	if shares != nil && *shares < 0 {
		c.invalid(at.Child("nominalConcurrencyShares"), *shares, "must be a non-negative integer")
	}
	if lendable != nil && (*lendable < 0 || *lendable > 100) {
		c.invalid(at.Child("lendablePercent"), *lendable, "must be between 0 and 100, inclusive")
	}
}

func (c *check) limited(at *field.Path, l *flowcontrolv1.LimitedPriorityLevelConfiguration) {
	c.shares(at, l.NominalConcurrencyShares, l.LendablePercent)
	if b := l.BorrowingLimitPercent; b != nil && *b < 0 {
		c.invalid(at.Child("borrowingLimitPercent"), *b, "if specified, must be a non-negative integer")
	}
	path, r := at.Child("limitResponse"), &l.LimitResponse
	switch r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if r.Queuing != nil {
			c.forbidden(path.Child("queuing"), "must be nil if limited.limitResponse.type is not Limited")
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if r.Queuing == nil {
			c.required(path.Child("queuing"), "must not be empty if limited.limitResponse.type is Limited")
		} else {
			c.queuing(path.Child("queuing"), r.Queuing)
		}
	default:
		oneOf(c, path.Child("type"), r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
}

// A flow's hand of queues is dealt from a hash of so many bits; more queues than this are not asked for.
const (
	dealerHashBits = 60
	maxQueues      = 10_000_000
)

func (c *check) queuing(at *field.Path, q *flowcontrolv1.QueuingConfiguration) {
	if q.QueueLengthLimit <= 0 {
		c.invalid(at.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	if q.Queues <= 0 {
		c.invalid(at.Child("queues"), q.Queues, "must be positive")
	} else if q.Queues > maxQueues {
		c.invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues))
	}
	path := at.Child("handSize")
	switch bits := math.Ceil(math.Log2(float64(q.Queues)) * float64(q.HandSize)); {
	case q.HandSize <= 0:
		c.invalid(path, q.HandSize, "must be positive")
	case q.HandSize > q.Queues:
		c.invalid(path, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	case bits > dealerHashBits:
		c.invalid(path, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, dealerHashBits))
	}
}

func validatePriorityLevelStatus(p, _ *flowcontrolv1.PriorityLevelConfiguration) fieldErrors {
	c, types := &check{}, once{}
	for i, cond := range p.Status.Conditions {
		path := at("status", "conditions").Index(i).Child("type")
		types.add(c, path, string(cond.Type))
		c.needs(path, string(cond.Type))
	}
	return c.errs
}
