// Package cmp takes the place of the package that etcd's check of its backend prints differences with; see the folder's README.
package cmp

import (
	"fmt"
	"reflect"
)

// Option is accepted and has no effect.
type Option any

// Equal says whether x and y are deeply equal.
func Equal(x, y any, _ ...Option) bool { return reflect.DeepEqual(x, y) }

// Diff is empty when x and y are deeply equal, and shows both otherwise.
func Diff(x, y any, _ ...Option) string {
	if reflect.DeepEqual(x, y) {
		return ""
	}
	return fmt.Sprintf("-%+v\n+%+v\n", x, y)
}
