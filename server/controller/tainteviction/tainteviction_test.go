package tainteviction

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	added := metav1.NewTime(now.Add(-time.Minute))
	taint := corev1.Taint{Key: "node.kubernetes.io/not-ready", Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	other := corev1.Taint{Key: "maintenance", Value: "yes", Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	seconds := func(n int64) *int64 { return &n }
	exists := func(key string, s *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: s}
	}
	for name, c := range map[string]struct {
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		evict       bool
		after       time.Duration
	}{
		"no taint":                     {nil, nil, false, 0},
		"not tolerated":                {[]corev1.Taint{taint}, nil, true, 0},
		"for ever":                     {[]corev1.Taint{taint}, []corev1.Toleration{exists(taint.Key, nil)}, false, 0},
		"for 300 s of which 60 passed": {[]corev1.Taint{taint}, []corev1.Toleration{exists(taint.Key, seconds(300))}, true, 4 * time.Minute},
		"time is over":                 {[]corev1.Taint{taint}, []corev1.Toleration{exists(taint.Key, seconds(30))}, true, 0},
		"the shortest counts":          {[]corev1.Taint{taint}, []corev1.Toleration{exists(taint.Key, seconds(300)), exists("", seconds(90))}, true, 30 * time.Second},
		"one of two is not tolerated":  {[]corev1.Taint{taint, other}, []corev1.Toleration{exists(taint.Key, nil)}, true, 0},
		"equal value":                  {[]corev1.Taint{other}, []corev1.Toleration{{Key: "maintenance", Value: "yes"}}, false, 0},
		"another value":                {[]corev1.Taint{other}, []corev1.Toleration{{Key: "maintenance", Value: "no"}}, true, 0},
		"another effect":               {[]corev1.Taint{other}, []corev1.Toleration{{Key: "maintenance", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			evict, after := decide(c.taints, c.tolerations, now)
			if evict != c.evict || after != c.after {
				t.Errorf("evict %v after %v; want %v after %v", evict, after, c.evict, c.after)
			}
		})
	}
}
