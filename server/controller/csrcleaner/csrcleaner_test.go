package csrcleaner

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	made := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(h int) metav1.Time { return metav1.NewTime(made.Add(time.Duration(h) * time.Hour)) }
	cond := func(t certificatesv1.RequestConditionType, h int) certificatesv1.CertificateSigningRequestCondition {
		return certificatesv1.CertificateSigningRequestCondition{Type: t, LastUpdateTime: at(h)}
	}
	for name, c := range map[string]struct {
		conditions []certificatesv1.CertificateSigningRequestCondition
		signed     bool
		want       metav1.Time
	}{
		"pending":            {nil, false, at(24)},
		"denied":             {[]certificatesv1.CertificateSigningRequestCondition{cond(certificatesv1.CertificateDenied, 3)}, false, at(4)},
		"approved, unsigned": {[]certificatesv1.CertificateSigningRequestCondition{cond(certificatesv1.CertificateApproved, 3)}, false, at(27)},
		"approved, signed":   {[]certificatesv1.CertificateSigningRequestCondition{cond(certificatesv1.CertificateApproved, 3)}, true, at(4)},
		"approved, failed": {[]certificatesv1.CertificateSigningRequestCondition{cond(certificatesv1.CertificateApproved, 3), cond(certificatesv1.CertificateFailed, 5)},
			false, at(4)},
		"no time": {[]certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied}}, false, at(1)},
	} {
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: at(0)}, Status: certificatesv1.CertificateSigningRequestStatus{Conditions: c.conditions}}
		if c.signed {
			r.Status.Certificate = []byte("signed, in some form")
		}
		if got := decide(r); !got.Equal(c.want.Time) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
