package clusterroleaggregation_test

import (
	"fmt"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/clusterroleaggregation"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

func TestARoleFollowsThoseThatItSelects(t *testing.T) {
	w := Start(t, func(func() time.Time) []controller.Controller {
		return []controller.Controller{clusterroleaggregation.New()}
	})
	part := func(name, resource string) *rbacv1.ClusterRole {
		return Create(w, &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": "all"}},
			Rules:      []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{resource}}},
		})
	}
	b := part("b", "pods")
	whole := Create(w, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "whole", Labels: map[string]string{"to": "all"}},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "all"}}}}})
	has := func(want string) {
		t.Helper()
		w.Eventually(func() string {
			got := ""
			for _, r := range Get(w, whole).Rules {
				got += r.Resources[0] + " "
			}
			if got != want {
				return fmt.Sprintf("the rules are %q, not %q", got, want)
			}
			return ""
		})
	}
	has("pods ")
	part("a", "nodes")
	part("c", "pods")
	has("nodes pods ")
	Mutate(w, b, "", func(r *rbacv1.ClusterRole) { r.Rules[0].Resources[0] = "secrets" })
	has("nodes secrets pods ")
	Mutate(w, b, "", func(r *rbacv1.ClusterRole) { r.Labels = nil })
	has("nodes pods ")
	w.Idle()
}
