package action_test

import (
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// Claims are those of pki: one converts to the other.
var _ = pki.TokenClaims(action.Claims{})

func start(t *testing.T, signed *action.Claims) *Env {
	pdb := Plain("PodDisruptionBudget", "poddisruptionbudgets", true, func() api.Object { return &policyv1.PodDisruptionBudget{} }, func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} })
	pdb.Group, pdb.Versions[0].Group = "policy", "policy"
	return Start(t, Options{Kinds: append(Kinds(), pdb), Actions: func(*Env) []registry.Action {
		return action.Table(action.Config{MaxExpiration: 2 * time.Hour, SignToken: func(c action.Claims) (string, time.Time, error) {
			*signed = c
			return "token", c.Expires, nil
		}})
	}})
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: "sa", Containers: []corev1.Container{{Name: "c"}}}}
}

func act(e *Env, obj api.Object, subresource string, body runtime.Object) (runtime.Object, error) {
	req := e.Request(obj)
	req.Subresource = subresource
	return e.Registry.Create(e.Ctx, req, body)
}

func wantErr(t *testing.T, err error, reason metav1.StatusReason, text string) {
	t.Helper()
	if err == nil || apierrors.ReasonForError(err) != reason || !strings.Contains(err.Error(), text) {
		t.Errorf("got  %v\nwant %s %q", err, reason, text)
	}
}

func TestBinding(t *testing.T) {
	e := start(t, &action.Claims{})
	p := Create(e, pod("p", ""))
	b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", Annotations: map[string]string{"a": "b"}}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	wrong := b.DeepCopy()
	wrong.UID = "other"
	_, err := act(e, p, "binding", wrong)
	wantErr(t, err, metav1.StatusReasonConflict, "the UID in the precondition (other) does not match")
	if _, err := act(e, p, "binding", b); err != nil {
		t.Fatal(err)
	}
	got, _ := Get(e, p)
	if got.Spec.NodeName != "n1" || got.Annotations["a"] != "b" || got.Status.Conditions[0].Type != corev1.PodScheduled || got.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("%+v", got)
	}
	_, err = act(e, p, "binding", b)
	wantErr(t, err, metav1.StatusReasonConflict, `Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"`)
	_, err = act(e, p, "binding", &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}})
	wantErr(t, err, metav1.StatusReasonInvalid, "target.name: Required value")
	_, err = act(e, pod("q", ""), "binding", &corev1.Binding{Target: corev1.ObjectReference{Name: "n1"}})
	wantErr(t, err, metav1.StatusReasonNotFound, `pods "q" not found`)
}

func TestEviction(t *testing.T) {
	e := start(t, &action.Claims{})
	for _, name := range []string{"a", "b"} {
		p := Create(e, pod(name, "n1"))
		Mutate(e, p, "status", func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodRunning
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		})
	}
	pdb := Create(e, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "budget"},
		Spec:   policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
		Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 1, DesiredHealthy: 1, CurrentHealthy: 2}})
	evict := func(name string) error {
		_, err := act(e, pod(name, ""), "eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name}})
		return err
	}
	if err := evict("a"); err != nil {
		t.Fatal(err)
	}
	got, _ := Get(e, pod("a", ""))
	if got.DeletionTimestamp == nil || got.Status.Conditions[len(got.Status.Conditions)-1].Reason != "EvictionByEvictionAPI" {
		t.Errorf("%+v", got)
	}
	after, _ := Get(e, pdb)
	if after.Status.DisruptionsAllowed != 0 || len(after.Status.DisruptedPods) != 1 {
		t.Errorf("%+v", after.Status)
	}
	err := evict("b")
	wantErr(t, err, metav1.StatusReasonTooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget.")
	if !apierrors.HasStatusCause(err, "DisruptionBudget") {
		t.Error("no cause")
	}
}

func TestToken(t *testing.T) {
	var claims action.Claims
	e := start(t, &claims)
	sa := Create(e, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sa"}})
	node := Create(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	p := Create(e, pod("p", "n1"))
	out, err := act(e, sa, "token", &authenticationv1.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	tr := out.(*authenticationv1.TokenRequest)
	if tr.Status.Token != "token" || *tr.Spec.ExpirationSeconds != 3600 || !claims.Expires.Equal(e.Time.Add(time.Hour)) || claims.UID != string(sa.UID) || len(claims.Audiences) != 1 {
		t.Errorf("%+v %+v", tr, claims)
	}
	ref := &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: p.UID}
	if _, err := act(e, sa, "token", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref, Audiences: []string{"x"}}}); err != nil {
		t.Fatal(err)
	}
	if claims.BoundName != "p" || claims.NodeName != "n1" || claims.NodeUID != string(node.UID) || claims.Audiences[0] != "x" {
		t.Errorf("%+v", claims)
	}
	ref.UID = "other"
	_, err = act(e, sa, "token", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}})
	wantErr(t, err, metav1.StatusReasonConflict, "the UID in the bound object reference (other) does not match")
	short := int64(60)
	_, err = act(e, sa, "token", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &short}})
	wantErr(t, err, metav1.StatusReasonInvalid, "may not specify a duration less than 10 minutes")
	var warned string
	long, req := int64(24*60*60), e.Request(sa)
	req.Subresource, req.Warn = "token", func(text string) { warned = text }
	_, err = e.Registry.Create(e.Ctx, req, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &long}})
	if err != nil || !claims.Expires.Equal(e.Time.Add(2*time.Hour)) || warned != "requested expiration of 86400 seconds shortened to 7200 seconds" {
		t.Errorf("%v, until %v, warned of %q", err, claims.Expires, warned)
	}
	_, err = act(e, sa, "token", &authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "other"}})
	wantErr(t, err, metav1.StatusReasonConflict, "the UID in the token request (other) does not match the UID of the service account")
	_, err = act(e, sa, "token", &authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	wantErr(t, err, metav1.StatusReasonInvalid, "must match the service account name if specified")
}
