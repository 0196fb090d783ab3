package validatingadmissionpolicy_test

import (
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/validatingadmissionpolicy"
)

func TestMistakesAreFound(t *testing.T) {
	w := Start(t, func(func() time.Time) []controller.Controller {
		return []controller.Controller{validatingadmissionpolicy.New()}
	})
	policy := Create(w, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.OperationAll},
			Rule:       admissionv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments", "statefulsets", "*/scale"}}}}}},
		Variables: []admissionv1.Variable{{Name: "have", Expression: "object.spec.replicas"}},
		Validations: []admissionv1.Validation{
			{Expression: "variables.have > 1 && object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z') && params.data['x'] == 'y' && request.operation != ''"},
			{Expression: "object.spec.replicas > '1'"},
			{Expression: "object.spec.replics > 1", MessageExpression: "object.spec.template.spec.containers.map(c, c.nam).join('')"},
			{Expression: "object.spec.strategy.type == 'Recreate' && authorizer.group('').resource('pods').check('get').allowed()"},
		}}})
	w.Settle()
	status := Get(w, policy).Status
	if status.ObservedGeneration != 1 || status.TypeChecking == nil {
		t.Fatalf("%+v", status)
	}
	want := map[string][]string{
		"spec.validations[1].expression":        {"apps/v1, Kind=Deployment: ERROR", "apps/v1, Kind=StatefulSet", "found no matching overload for '_>_' applied to '(int, string)'"},
		"spec.validations[2].expression":        {"undefined field 'replics'"},
		"spec.validations[2].messageExpression": {"undefined field 'nam'"},
		"spec.validations[3].expression":        {"apps/v1, Kind=StatefulSet", "undefined field 'strategy'"},
	}
	for _, warning := range status.TypeChecking.ExpressionWarnings {
		for _, text := range want[warning.FieldRef] {
			if !strings.Contains(warning.Warning, text) {
				t.Errorf("%s: %q, want %q", warning.FieldRef, warning.Warning, text)
			}
		}
		if want[warning.FieldRef] == nil {
			t.Errorf("%+v", warning)
		}
		delete(want, warning.FieldRef)
	}
	if len(want) > 0 {
		t.Errorf("no warning for %v", want)
	}
	w.Idle()
}
