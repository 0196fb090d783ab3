package notacted_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/notacted"
)

func TestEventsOnWhatNothingActsOn(t *testing.T) {
	w := Start(t, func(now func() time.Time) []controller.Controller { return []controller.Controller{notacted.New(now)} })
	recorder := client.NewRecorder(w.Client, w.Now, slog.New(slog.DiscardHandler))
	go recorder.Run(t.Context())
	w.Client = w.Client.WithRecorder(recorder)
	w.Advance(0) // from now on the controller's client has it
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: Namespace, Name: name} }
	service := func(name string, kind corev1.ServiceType) *corev1.Service {
		return &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80}}, Selector: map[string]string{"a": "b"}}}
	}
	Create(w, service("plain", corev1.ServiceTypeClusterIP))
	Create(w, service("balanced", corev1.ServiceTypeLoadBalancer))
	Create(w, &networkingv1.NetworkPolicy{ObjectMeta: meta("closed"), Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}}})
	Create(w, &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta("scaled"), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 3,
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "d", APIVersion: "apps/v1"}}})
	want := []string{"HorizontalPodAutoscaler/scaled", "NetworkPolicy/closed", "Service/balanced"}
	w.Eventually(func() string {
		var got []string
		for _, e := range List[*corev1.Event](w) {
			if e.Reason == notacted.Reason && e.Type == corev1.EventTypeWarning {
				got = append(got, e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			return fmt.Sprintf("events on %q, want %q", got, want)
		}
		return ""
	})
}
