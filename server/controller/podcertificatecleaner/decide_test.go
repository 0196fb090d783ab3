package podcertificatecleaner

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for age, want := range map[time.Duration]string{0: "look again in 15m0s\n", 14 * time.Minute: "look again in 1m0s\n", 15 * time.Minute: "delete\n", time.Hour: "delete\n"} {
		r := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now.Add(-age))}}
		if got := decide(r, now).String(); got != want {
			t.Errorf("age %v: %q; want %q", age, got, want)
		}
	}
}
