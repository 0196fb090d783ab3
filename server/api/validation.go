package api

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nonNegative is upstream's wording for counts.
func nonNegative(n int64, path *field.Path) (errs fieldErrors) {
	if n < 0 {
		errs = append(errs, field.Invalid(path, n, "must be greater than or equal to 0").WithOrigin("minimum"))
	}
	return errs
}
