package quota

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Change is a write of one object: from nothing or an old state to a new one, with what each uses.
type Change struct {
	Old, New           runtime.Object // Old is nil for a create
	OldUsage, NewUsage corev1.ResourceList
}

// Enters tells whether the object was no concern of a quota before, and is now.
func (c *Change) Enters(quota *corev1.ResourceQuota) bool {
	return InScope(quota, c.New) && (c.Old == nil || !InScope(quota, c.Old))
}

// Growth is what the change adds to what is used of a quota's resources: all amounts are above zero. An object that comes
// into a scope brings all it uses.
func (c *Change) Growth(quota *corev1.ResourceQuota) corev1.ResourceList {
	if !InScope(quota, c.New) {
		return nil
	}
	var before corev1.ResourceList
	if c.Old != nil && InScope(quota, c.Old) {
		before = c.OldUsage
	}
	growth := corev1.ResourceList{}
	for name := range quota.Spec.Hard {
		amount, ok := c.NewUsage[name]
		if !ok {
			continue
		}
		if was, ok := before[name]; ok {
			amount = amount.DeepCopy()
			amount.Sub(was)
		}
		if amount.Sign() > 0 {
			growth[name] = amount
		}
	}
	return growth
}
