package policy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission/policy"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

type world struct {
	*Env
	notes map[string]string
	warns []string
}

func start(t testing.TB, more ...registry.Plugin) *world {
	w := &world{notes: map[string]string{}}
	mayGetPods := authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetVerb() == "get" && a.GetResource() == "pods" {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "no", nil
	})
	w.Env = Start(t, Options{Kinds: api.BuiltIn(), Admission: func(e *Env) []registry.Plugin {
		c := policy.Config{Catalogue: e.Catalogue, Snapshot: e.Store.Snapshot, Authorizer: mayGetPods}
		return append([]registry.Plugin{policy.Mutating(c), policy.Validating(c)}, more...)
	}})
	Create(w.Env, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default", Labels: map[string]string{"team": "a"}}})
	return w
}

// apply creates what the YAML documents say.
func (w *world) apply(docs string) {
	w.TB.Helper()
	for _, doc := range strings.Split(docs, "\n---\n") {
		var meta runtime.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			w.TB.Fatal(err)
		}
		kind, _ := w.Catalogue.ByKind(meta.GroupVersionKind())
		if kind == nil {
			w.TB.Fatalf("no kind %v", meta)
		}
		obj := kind.Hub().New()
		if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
			w.TB.Fatal(err)
		}
		Create(w.Env, obj)
	}
}

func (w *world) create(obj api.Object) (runtime.Object, error) {
	req := w.Request(obj)
	req.Warn = func(text string) { w.warns = append(w.warns, text) }
	req.Annotate = func(key, value string, _ bool) { w.notes[key] = value }
	return w.Registry.Create(w.Ctx, req, obj)
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: data}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}}}}
}

// refused checks the Status of a refusal.
func refused(t *testing.T, err error, code int32, reason metav1.StatusReason, message string) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Errorf("%v, want %q", err, message)
	} else if s := status.Status(); s.Code != code || s.Reason != reason || s.Message != message {
		t.Errorf("%d %s %q, want %d %s %q", s.Code, s.Reason, s.Message, code, reason, message)
	}
}

const limits = `
apiVersion: v1
kind: ConfigMap
metadata: {name: limits, namespace: default, labels: {is: param}}
data: {most: "3"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: replicas}
spec:
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}
  matchConditions:
  - {name: not-free, expression: "object.metadata.name != 'free'"}
  variables:
  - {name: have, expression: "object.spec.replicas"}
  - {name: most, expression: "int(params.data['most'])"}
  - {name: unused, expression: "int(object.metadata.name)"}
  validations:
  - expression: "variables.have <= variables.most"
    messageExpression: "params.kind + ' ' + request.operation + ' in ' + namespaceObject.metadata.labels.team + ': ' + string(variables.have)"
    reason: Forbidden
  - expression: "authorizer.group('').resource('pods').check('get').allowed() && !authorizer.requestResource.check('delete').allowed()"
  auditAnnotations:
  - {key: have, valueExpression: "variables.have > 2 ? string(variables.have) : ''"}
`

const bound = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: b}
spec:
  policyName: replicas
  validationActions: [Deny, Audit]
  paramRef: {name: limits, parameterNotFoundAction: Deny}
`

func TestValidating(t *testing.T) {
	w := start(t)
	w.apply(limits)
	if _, err := w.create(deployment("unbound", 9)); err != nil {
		t.Fatal(err)
	}
	w.apply(bound)
	_, err := w.create(deployment("d", 4))
	refused(t, err, 403, metav1.StatusReasonForbidden, `deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'b' denied request: ConfigMap CREATE in a: 4`)
	if want := `[{"message":"ConfigMap CREATE in a: 4","policy":"replicas","binding":"b","expressionIndex":0,"validationActions":["Deny","Audit"]}]`; w.notes["validation.policy.admission.k8s.io/validation_failure"] != want {
		t.Errorf("notes %q", w.notes)
	}
	if w.notes["replicas/have"] != "4" {
		t.Errorf("notes %q", w.notes)
	}
	for name, n := range map[string]int32{"ok": 3, "free": 9} {
		if _, err := w.create(deployment(name, n)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	Mutate(w.Env, configMap("limits", nil), "", func(c *corev1.ConfigMap) { c.Data["most"] = "9" })
	if _, err := w.create(deployment("more", 4)); err != nil {
		t.Error(err)
	}
	w.Delete(configMap("limits", nil), nil)
	_, err = w.create(deployment("d", 1))
	refused(t, err, 422, metav1.StatusReasonInvalid, `deployments.apps "d" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'b' denied request: `+
		"failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction")
}

func TestSelectorWarnAndScale(t *testing.T) {
	w := start(t)
	w.apply(limits)
	w.apply(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: b}
spec:
  policyName: replicas
  validationActions: [Warn]
  paramRef: {selector: {matchLabels: {is: param}}, parameterNotFoundAction: Allow}
  matchResources: {namespaceSelector: {matchLabels: {team: a}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: scales}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments/scale]}
  validations:
  - {expression: "object.kind == 'Scale' && object.spec.replicas < 5 && oldObject.spec.replicas == 4", message: "no"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: scales}
spec: {policyName: scales, validationActions: [Deny]}
`)
	d, err := w.create(deployment("d", 4))
	if err != nil {
		t.Fatal(err)
	}
	if want := "Validation failed for ValidatingAdmissionPolicy 'replicas' with binding 'b': ConfigMap CREATE in a: 4"; len(w.warns) != 1 || w.warns[0] != want {
		t.Errorf("%q", w.warns)
	}
	req := w.Request(d.(*appsv1.Deployment))
	req.Subresource = "scale"
	for n, ok := range map[int32]bool{3: true, 5: false} {
		req.DryRun = true
		_, _, err := w.Registry.Update(w.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
			s := current.DeepCopyObject().(*autoscalingv1.Scale)
			s.Spec.Replicas = n
			return s, nil
		}, registry.UpdateOptions{Retry: true})
		if (err == nil) != ok {
			t.Errorf("scale to %d: %v", n, err)
		}
	}
}

func TestFailurePolicy(t *testing.T) {
	w := start(t)
	for name, policy := range map[string]string{"fail": "Fail", "ignore": "Ignore"} {
		w.apply(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: ` + name + `}
spec:
  failurePolicy: ` + policy + `
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps], resourceNames: [` + name + `]}
  validations:
  - {expression: "object.data.missing == 'x'"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: ` + name + `}
spec: {policyName: ` + name + `, validationActions: [Deny]}`)
	}
	_, err := w.create(configMap("fail", map[string]string{"a": "b"}))
	refused(t, err, 422, metav1.StatusReasonInvalid, `configmaps "fail" is forbidden: ValidatingAdmissionPolicy 'fail' with binding 'fail' denied request: expression 'object.data.missing == 'x'' resulted in error: no such key: missing`)
	if _, err := w.create(configMap("ignore", nil)); err != nil {
		t.Error(err)
	}
}

// An expression that would run for ever costs too much instead.
func TestCostIsLimited(t *testing.T) {
	w := start(t)
	w.apply(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: slow}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  variables:
  - {name: l, expression: "[1,2,3,4,5,6,7,8,9,10,1,2,3,4,5,6,7,8,9,10,1,2,3,4,5,6,7,8,9,10]"}
  validations:
  - {expression: "variables.l.all(a, variables.l.all(b, variables.l.all(c, variables.l.all(d, variables.l.all(e, variables.l.all(f, a+b+c+d+e+f > 0))))))"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: slow}
spec: {policyName: slow, validationActions: [Deny]}`)
	if _, err := w.create(configMap("c", nil)); err == nil || !strings.Contains(err.Error(), "cost") {
		t.Error(err)
	}
}

const sidecar = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: sidecar}
spec:
  reinvocationPolicy: IfNeeded
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  matchConditions:
  - {name: once, expression: "!has(object.spec.initContainers)"}
  variables:
  - {name: image, expression: "'mesh:1'"}
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: >
        Object{metadata: Object.metadata{annotations: {"team": namespaceObject.metadata.labels.team}},
          spec: Object.spec{initContainers: [Object.spec.initContainers{name: "mesh", image: variables.image}]}}
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        [JSONPatch{op: "test", path: "/spec/initContainers/0/name", value: "mesh"},
         JSONPatch{op: "add", path: "/metadata/annotations/" + jsonpatch.escapeKey("a/b"), value: object.metadata.annotations.team + "!"},
         JSONPatch{op: "add", path: "/spec/tolerations", value: [Object.spec.tolerations{key: "k", operator: "Exists"}]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: sidecar}
spec: {policyName: sidecar}
`

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}}
}

func TestMutating(t *testing.T) {
	w := start(t)
	w.apply(sidecar)
	out, err := w.create(pod("p"))
	if err != nil {
		t.Fatal(err)
	}
	p := out.(*corev1.Pod)
	if len(p.Spec.InitContainers) != 1 || p.Spec.InitContainers[0].Image != "mesh:1" || p.Spec.InitContainers[0].ImagePullPolicy != corev1.PullIfNotPresent ||
		len(p.Spec.Containers) != 1 || p.Annotations["team"] != "a" || p.Annotations["a/b"] != "a!" || len(p.Spec.Tolerations) != 1 {
		t.Errorf("%+v %+v", p.Annotations, p.Spec)
	}
}

func TestMutatingErrors(t *testing.T) {
	for name, tc := range map[string]struct{ expression, want string }{
		"atomic":  {`Object{spec: Object.spec{containers: [Object.spec.containers{name: "c", command: ["a"]}]}}`, "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].command"},
		"type":    {`Object{spec: Object.wrong{}}`, `type mismatch: unexpected type name "Object.wrong", expected "Object.spec", which matches field name path from root Object type`},
		"unknown": {`Object{spec: Object.spec{nothing: "x"}}`, `error applying patch: failed to convert patch object to typed object: .spec.nothing: field not declared in schema`},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			w.apply(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: m}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: '` + tc.expression + `'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: b}
spec: {policyName: m}`)
			_, err := w.create(pod("p"))
			refused(t, err, 403, metav1.StatusReasonInvalid, "policy 'm' with binding 'b' denied request: "+tc.want)
		})
	}
}

func TestDeletedPolicyIsForgotten(t *testing.T) {
	w := start(t)
	w.apply(limits)
	w.apply(bound)
	w.Delete(&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "b"}}, nil)
	if _, err := w.create(deployment("d", 9)); err != nil {
		t.Error(err)
	}
}

func BenchmarkNoPolicy(b *testing.B) {
	w := start(b)
	c := policy.Config{Catalogue: w.Catalogue, Snapshot: w.Store.Snapshot}
	m, v := policy.Mutating(c), policy.Validating(c)
	a := &registry.Attributes{Request: w.Request(pod("p")), Verb: registry.VerbCreate, Object: pod("p")}
	b.ReportAllocs()
	for b.Loop() {
		if m.Admit(w.Ctx, a) != nil || v.Validate(w.Ctx, a) != nil {
			b.Fatal("refused")
		}
	}
}

func BenchmarkOnePolicy(b *testing.B) {
	w := start(b)
	w.apply(limits)
	w.apply(bound)
	c := policy.Config{Catalogue: w.Catalogue, Snapshot: w.Store.Snapshot, Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetVerb() == "get" {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})}
	v := policy.Validating(c)
	d := deployment("d", 1)
	a := &registry.Attributes{Request: w.Request(d), Verb: registry.VerbCreate, Object: d}
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Validate(w.Ctx, a); err != nil {
			b.Fatal(err)
		}
	}
}
