package resourcequota_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/resourcequota"
)

func TestStatusFollowsUse(t *testing.T) {
	w := Start(t, func(func() time.Time) []controller.Controller { return []controller.Controller{resourcequota.New()} })
	hard := corev1.ResourceList{}
	for name, amount := range map[corev1.ResourceName]string{"pods": "5", "requests.cpu": "2", "limits.memory": "1Gi", "services": "3",
		"services.nodeports": "3", "count/configmaps": "4", "count/deployments.apps": "2", "secrets": "1"} {
		hard[name] = resource.MustParse(amount)
	}
	quota := Create(w, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}})
	best := Create(w, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "best"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("5")}, Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}}})
	check := func(q *corev1.ResourceQuota, want map[corev1.ResourceName]string) {
		t.Helper()
		w.Settle()
		s := Get(w, q).Status
		if len(s.Used) != len(s.Hard) || len(s.Hard) == 0 {
			t.Errorf("status %+v", s)
		}
		for name, amount := range want {
			if got := s.Used[name]; got.Cmp(resource.MustParse(amount)) != 0 {
				t.Errorf("%s: %s used, want %s", name, got.String(), amount)
			}
		}
	}
	check(quota, map[corev1.ResourceName]string{"pods": "0", "requests.cpu": "0", "services": "0"})
	w.Idle()

	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p"}, Spec: Template("x").Spec}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("64Mi")},
		Limits:   corev1.ResourceList{"memory": resource.MustParse("64Mi")}}
	p = Create(w, p)
	Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "c"}})
	Create(w, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "s"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}})
	check(quota, map[corev1.ResourceName]string{"pods": "1", "requests.cpu": "500m", "limits.memory": "64Mi", "services": "1", "services.nodeports": "1", "count/configmaps": "1", "secrets": "0"})
	check(best, map[corev1.ResourceName]string{"pods": "0"})
	w.Idle()

	w.Finish(p, 0)
	check(quota, map[corev1.ResourceName]string{"pods": "0", "requests.cpu": "0", "services": "1"})
	Mutate(w, quota, "", func(q *corev1.ResourceQuota) { q.Spec.Hard = corev1.ResourceList{"services": resource.MustParse("9")} })
	check(quota, map[corev1.ResourceName]string{"services": "1"})
	w.Idle()
}
