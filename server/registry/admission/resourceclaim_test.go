package admission

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

// grants lets users do what is listed as "user verb subresource name".
type grants map[string]bool

func (g grants) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if g[strings.Join([]string{a.GetUser().GetName(), a.GetVerb(), a.GetSubresource(), a.GetName()}, " ")] {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func TestWhoMayDoWhatToClaims(t *testing.T) {
	yes := true
	g := grants{"scheduler update binding ": true, "driver arbitrary-node:update driver d.example.com": true, "local associated-node:update driver d.example.com": true,
		"system:serviceaccount:a:local associated-node:update driver d.example.com": true}
	e := registrytest.Start(t, registrytest.Options{Kinds: api.BuiltIn(), Admission: func(e *registrytest.Env) []registry.Plugin {
		return []registry.Plugin{resourceClaims(&Config{Store: e.Store, Catalogue: e.Catalogue, Authorizer: g})}
	}})
	for name, label := range map[string]string{"plain": "", "admin": "true"} {
		registrytest.Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{adminNamespace: label}}})
	}
	claim := func(namespace string, admin *bool) *resourcev1.ResourceClaim {
		return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "c"}, Spec: resourcev1.ResourceClaimSpec{
			Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "c", AdminAccess: admin}}}}}}
	}
	if _, err := registrytest.TryCreate(e, claim("plain", &yes)); err == nil || !strings.Contains(err.Error(), "requires the `resource.kubernetes.io/admin-access: true` label") {
		t.Errorf("admin access in a plain namespace: %v", err)
	}
	registrytest.Create(e, claim("admin", &yes))
	c := registrytest.Create(e, claim("plain", nil))

	as := func(u user.Info, change func(*resourcev1.ResourceClaimStatus)) error {
		e.User = u
		next, _ := registrytest.Get(e, c)
		next = next.DeepCopy()
		change(&next.Status)
		_, err := registrytest.TryUpdate(e, next, "status")
		return err
	}
	allocate := func(s *resourcev1.ResourceClaimStatus) {
		s.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
			{Request: "r", Driver: "d.example.com", Pool: "p", Device: "d0"}}},
			NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}}
	}
	report := func(s *resourcev1.ResourceClaimStatus) {
		s.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.example.com", Pool: "p", Device: "d0"}}
	}
	named := func(name string, extra map[string][]string) user.Info {
		return &user.DefaultInfo{Name: name, Extra: extra}
	}
	node := func(n string) map[string][]string {
		return map[string][]string{"authentication.kubernetes.io/node-name": {n}}
	}
	if err := as(named("driver", nil), allocate); err == nil || !strings.Contains(err.Error(), "resourceclaims/binding") {
		t.Errorf("a driver allocated: %v", err)
	}
	if err := as(named("scheduler", nil), allocate); err != nil {
		t.Errorf("the scheduler could not allocate: %v", err)
	}
	if err := as(named("scheduler", nil), report); err == nil || !strings.Contains(err.Error(), "resourceclaims/driver") {
		t.Errorf("the scheduler reported: %v", err)
	}
	if err := as(named("system:serviceaccount:a:local", node("n2")), report); err == nil {
		t.Error("a driver of another node reported")
	}
	if err := as(named("system:serviceaccount:a:local", node("n1")), report); err != nil {
		t.Errorf("the node's driver could not report: %v", err)
	}
	if err := as(named("driver", nil), func(s *resourcev1.ResourceClaimStatus) { s.Devices = nil }); err != nil {
		t.Errorf("a driver of all nodes could not report: %v", err)
	}
}
