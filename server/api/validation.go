package api

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// check collects what is wrong with an object. The words of its messages are those that upstream uses, because
// people search for them and programs (and conformance tests) look for them.
type check struct{ errs field.ErrorList }

func (c *check) add(errs ...*field.Error) { c.errs = append(c.errs, errs...) }

func (c *check) required(at *field.Path, detail string) { c.add(field.Required(at, detail)) }

func (c *check) forbidden(at *field.Path, detail string) { c.add(field.Forbidden(at, detail)) }

func (c *check) invalid(at *field.Path, value any, details ...string) {
	for _, d := range details {
		c.add(field.Invalid(at, value, d))
	}
}

// needs says that a string is missing, and whether it is there.
func (c *check) needs(at *field.Path, value string) bool {
	if value == "" {
		c.required(at, "")
	}
	return value != ""
}

// name checks a required string with one of apimachinery's format checks.
func (c *check) name(at *field.Path, value string, format func(string) []string) {
	if c.needs(at, value) {
		c.invalid(at, value, format(value)...)
	}
}

// nameIfSet is name for a string that may be left out.
func (c *check) nameIfSet(at *field.Path, value string, format func(string) []string) {
	if value != "" {
		c.invalid(at, value, format(value)...)
	}
}

// immutable says that a field may not change.
func (c *check) immutable(at *field.Path, now, old any) {
	if !apiequality.Semantic.DeepEqual(now, old) {
		if v := reflect.ValueOf(now); v.Kind() == reflect.Pointer && !v.IsNil() {
			now = v.Elem().Interface()
		}
		c.add(field.Invalid(at, now, "field is immutable").WithOrigin("immutable"))
	}
}

func (c *check) nonNegative(at *field.Path, n int64) { c.add(nonNegative(n, at)...) }

// mayNotBeSet forbids those fields below at that are set.
func (c *check) mayNotBeSet(at *field.Path, detail string, set map[string]bool) {
	for _, name := range sortedKeys(set) {
		if set[name] {
			c.forbidden(at.Child(name), detail)
		}
	}
}

// counts checks optional counts, named by their paths below at.
func (c *check) counts(at *field.Path, counts map[string]*int32) {
	for _, name := range sortedKeys(counts) {
		if n := counts[name]; n != nil {
			c.nonNegative(at.Child(name), int64(*n))
		}
	}
}

func (c *check) quantity(at *field.Path, q resource.Quantity) {
	if q.Sign() < 0 {
		c.invalid(at, q.String(), "must be greater than or equal to 0")
	}
}

func (c *check) between(at *field.Path, n, low, high int64) {
	if n < low || n > high {
		c.invalid(at, n, validation.InclusiveRangeError(int(low), int(high)))
	}
}

func (c *check) ip(at *field.Path, s string) {
	if _, err := netip.ParseAddr(s); err != nil {
		c.invalid(at, s, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
	}
}

func (c *check) cidr(at *field.Path, s string) {
	if _, err := netip.ParsePrefix(s); err != nil {
		c.invalid(at, s, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
	}
}

func (c *check) labels(at *field.Path, l map[string]string) {
	c.add(metavalidation.ValidateLabels(l, at)...)
}

func (c *check) annotations(at *field.Path, a map[string]string) {
	c.add(apivalidation.ValidateAnnotations(a, at)...)
}

func (c *check) selector(at *field.Path, s *metav1.LabelSelector) {
	c.add(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)...)
}

// once reports values that come twice.
type once map[string]bool

func (o once) add(c *check, at *field.Path, value string) {
	if o[value] {
		c.add(field.Duplicate(at, value))
	}
	o[value] = true
}

// oneOf says that a value is not among those which are allowed; an empty one is missing.
func oneOf[T ~string](c *check, at *field.Path, value T, allowed ...T) {
	if value == "" {
		c.required(at, "")
		return
	}
	oneOfIfSet(c, at, value, allowed...)
}

func oneOfIfSet[T ~string](c *check, at *field.Path, value T, allowed ...T) {
	if value != "" && !slices.Contains(allowed, value) {
		slices.Sort(allowed)
		c.add(field.NotSupported(at, value, allowed))
	}
}

// portOrName checks a port given by number or by name.
func (c *check) portOrName(at *field.Path, p intstr.IntOrString) {
	if p.Type == intstr.Int {
		c.invalid(at, p.IntValue(), validation.IsValidPortNum(p.IntValue())...)
	} else {
		c.invalid(at, p.StrVal, validation.IsValidPortName(p.StrVal)...)
	}
}

// amount checks a count or percentage.
func (c *check) amount(at *field.Path, v *intstr.IntOrString) {
	switch {
	case v == nil:
	case v.Type == intstr.Int:
		c.nonNegative(at, int64(v.IntValue()))
	default:
		c.invalid(at, v.String(), validation.IsValidPercent(v.StrVal)...)
	}
}

// atMost100Percent is checked beside amount.
func (c *check) atMost100Percent(at *field.Path, v *intstr.IntOrString) {
	if n, ok := percent(v); ok && n > 100 {
		c.invalid(at, v.String(), "must not be greater than 100%")
	}
}

func percent(v *intstr.IntOrString) (int, bool) {
	if v == nil || v.Type != intstr.String {
		return 0, false
	}
	var n int
	_, err := fmt.Sscanf(v.StrVal, "%d%%", &n)
	return n, err == nil
}

// isZeroAmount: 0, or 0 %.
func isZeroAmount(v *intstr.IntOrString) bool {
	n, ok := percent(v)
	return v != nil && (ok && n == 0 || v.Type == intstr.Int && v.IntVal == 0)
}

// nonNegative is upstream's wording for counts.
func nonNegative(n int64, at *field.Path) (errs fieldErrors) {
	if n < 0 {
		errs = append(errs, field.Invalid(at, n, "must be greater than or equal to 0").WithOrigin("minimum"))
	}
	return errs
}

func at(root string, more ...string) *field.Path { return field.NewPath(root, more...) }

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// dnsName adapts apimachinery's name checks, which want to know of prefixes.
func dnsName(check func(string, bool) []string) func(string) []string {
	return func(s string) []string { return check(s, false) }
}
