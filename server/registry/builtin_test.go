package registry_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	"codeberg.org/skiff/skiff/server/registry/admission"
	"codeberg.org/skiff/skiff/server/registry/managedfields"
	"codeberg.org/skiff/skiff/server/registry/patch"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// builtIn is a registry with the real catalogue, plugins and actions, and a namespace with its default account.
func builtIn(t testing.TB) *Env {
	e := Start(t, Options{
		Kinds: api.BuiltIn(),
		Admission: func(e *Env) []registry.Plugin {
			table, err := admission.Table(admission.Config{Store: e.Store, Catalogue: e.Catalogue, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}})
			if err != nil {
				t.Fatal(err)
			}
			return table
		},
		Actions: func(*Env) []registry.Action { return action.Table(action.Config{}) },
	})
	Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	Create(e, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}})
	return e
}

func realPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}}}
}

func TestEveryKindIsManaged(t *testing.T) {
	for _, k := range api.BuiltIn() {
		if k.Virtual {
			continue
		}
		subresources := []string{""}
		for _, s := range k.Subresources {
			if s.Inject != nil {
				subresources = append(subresources, s.Name)
			}
		}
		for i := range k.Versions {
			for _, sub := range subresources {
				m, err := managedfields.For(k, &k.Versions[i], sub)
				if err != nil {
					t.Errorf("%s %s %s: %v", k.Kind, k.Versions[i].Version, sub, err)
					continue
				}
				obj := k.Hub().New()
				obj.SetName("a")
				obj.SetLabels(map[string]string{"a": "b"})
				if err := m.Created(obj, "m", metav1.Now()); err != nil || len(obj.GetManagedFields()) != 1 {
					t.Errorf("%s: %v %v", k.Kind, err, obj.GetManagedFields())
				}
			}
		}
	}
}

func TestRealPodLife(t *testing.T) {
	e := builtIn(t)
	p := Create(e, realPod("p"))
	if p.Generation != 1 || p.Status.QOSClass != corev1.PodQOSBestEffort || p.Spec.RestartPolicy != corev1.RestartPolicyAlways || p.Kind != "" {
		t.Errorf("%+v", p)
	}
	same := Mutate(e, p, "", func(*corev1.Pod) {})
	if same.ResourceVersion != p.ResourceVersion {
		diff(t, p, same)
	}
	req := e.Request(p)
	req.Subresource = "binding"
	if _, err := e.Registry.Create(e.Ctx, req, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}); err != nil {
		t.Fatal(err)
	}
	running := Mutate(e, p, "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
	if running.Status.Phase != corev1.PodRunning || running.Spec.NodeName != "n1" {
		t.Errorf("%+v", running)
	}
	if got, done := e.Delete(p, nil); done || *got.GetDeletionGracePeriodSeconds() != 30 {
		t.Errorf("%+v", got)
	}
	if _, done := e.Delete(p, seconds(0)); !done {
		t.Error("not gone")
	}
}

func diff(t *testing.T, a, b any) {
	t.Helper()
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	t.Errorf("\n%s\n%s", x, y)
}

func deployment(name string) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: realPod("").Spec},
		}}
}

func TestRealDeploymentScale(t *testing.T) {
	e := builtIn(t)
	d := Create(e, deployment("d"))
	req := e.Request(d)
	req.Subresource = "scale"
	for _, tc := range []struct {
		mediaType, body string
		want            int32
	}{
		{"application/merge-patch+json", `{"spec":{"replicas":3}}`, 3},
		{"application/strategic-merge-patch+json", `{"spec":{"replicas":4}}`, 4},
		{"application/json-patch+json", `[{"op":"replace","path":"/spec/replicas","value":5}]`, 5},
		{"application/apply-patch+yaml", "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: d, namespace: default}\nspec: {replicas: 6}", 6},
	} {
		force := true
		o := patch.Options{Kind: req.Kind, Subresource: "scale", FieldManager: "m"}
		if tc.want == 6 {
			o.Force = &force
		}
		f, opts, err := patch.New(tc.mediaType, []byte(tc.body), o)
		if err != nil {
			t.Fatal(tc.mediaType, err)
		}
		out, _, err := e.Registry.Update(e.Ctx, req, f, opts)
		if err != nil {
			t.Fatal(tc.mediaType, err)
		}
		if s, ok := out.(*autoscalingv1.Scale); !ok || s.Spec.Replicas != tc.want {
			t.Errorf("%s: %+v", tc.mediaType, out)
		}
	}
	got, _ := Get(e, d)
	if *got.Spec.Replicas != 6 || got.Generation != 5 {
		t.Errorf("%d replicas, generation %d", *got.Spec.Replicas, got.Generation)
	}
	var bySub []string
	for _, m := range got.ManagedFields {
		bySub = append(bySub, fmt.Sprint(m.Operation, m.Subresource))
	}
	if want := []string{"Applyscale", "Update"}; !reflect.DeepEqual(bySub, want) {
		t.Errorf("managers %v, want %v", bySub, want)
	}
}

// A server-side apply of what is there changes nothing, for a real workload with all its defaults.
func TestRealApplyTwice(t *testing.T) {
	e := builtIn(t)
	d := deployment("d")
	d.APIVersion, d.Kind = "apps/v1", "Deployment"
	body, _ := json.Marshal(d)
	req := e.Request(d)
	var revisions []string
	for range 2 {
		f, opts, err := patch.New("application/apply-patch+yaml", body, patch.Options{Kind: req.Kind, FieldManager: "m", FieldValidation: "Strict"})
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := e.Registry.Update(e.Ctx, req, f, opts)
		if err != nil {
			t.Fatal(err)
		}
		revisions = append(revisions, out.(*appsv1.Deployment).ResourceVersion)
	}
	if revisions[0] != revisions[1] {
		t.Errorf("revisions %v", revisions)
	}
}

func TestRealServiceUpdateKeepsItsAddresses(t *testing.T) {
	e := builtIn(t)
	manifest := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}
	first := Create(e, manifest)
	if first.Spec.ClusterIP == "" || first.Spec.Ports[0].NodePort == 0 {
		t.Fatalf("%+v", first.Spec)
	}
	changed := manifest.DeepCopy()
	changed.Labels = map[string]string{"a": "b"}
	second, err := TryUpdate(e, changed, "")
	if err != nil {
		t.Fatal(err)
	}
	if second.Spec.ClusterIP != first.Spec.ClusterIP || !reflect.DeepEqual(second.Spec.Ports, first.Spec.Ports) {
		t.Errorf("%+v\n%+v", first.Spec, second.Spec)
	}
	external := Mutate(e, second, "", func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalName = "ExternalName", "example.com" })
	if external.Spec.ClusterIP != "" || external.Spec.Ports[0].NodePort != 0 {
		t.Errorf("%+v", external.Spec)
	}
	back := Mutate(e, second, "", func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalName = "ClusterIP", "" })
	if back.Spec.ClusterIP == "" {
		t.Errorf("%+v", back.Spec)
	}
}

func TestRealNamespaceEnds(t *testing.T) {
	e := builtIn(t)
	ns := Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	if len(ns.Spec.Finalizers) != 1 || ns.Labels["kubernetes.io/metadata.name"] != "x" {
		t.Errorf("%+v", ns)
	}
	e.Delete(ns, nil)
	Mutate(e, ns, "finalize", func(ns *corev1.Namespace) { ns.Spec.Finalizers = nil })
	if _, ok := Get(e, ns); ok {
		t.Error("still there")
	}
}

func BenchmarkRealPodCreate(b *testing.B) {
	e := builtIn(b)
	Create(e, realPod("warm"))
	n := 0
	b.ReportAllocs()
	report := reportCPU(b)
	for b.Loop() {
		n++
		Create(e, realPod(fmt.Sprint("p", n)))
	}
	report()
}

func BenchmarkRealPodStatus(b *testing.B) {
	e := builtIn(b)
	req := e.Request(Create(e, realPod("p")))
	req.Subresource = "status"
	n := 0
	b.ReportAllocs()
	report := reportCPU(b)
	for b.Loop() {
		n++
		_, _, err := e.Registry.Update(e.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
			next := current.DeepCopyObject().(*corev1.Pod)
			next.Status.Message = fmt.Sprint(n)
			return next, nil
		}, registry.UpdateOptions{Retry: true})
		if err != nil {
			b.Fatal(err)
		}
	}
	report()
}

// TestNamespaceOfClusterObject: many manifests, also those that are applied, give one to what has none.
func TestNamespaceOfClusterObject(t *testing.T) {
	e := builtIn(t)
	sent := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader", Namespace: "default"}}
	req := e.Request(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reader"}})
	if _, err := e.Registry.Create(e.Ctx, req, sent); err != nil {
		t.Fatal(err)
	}
	out, _, err := e.Registry.Update(e.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
		next := current.DeepCopyObject().(*rbacv1.ClusterRole)
		next.Namespace, next.Labels = "default", map[string]string{"a": "b"}
		return next, nil
	}, registry.UpdateOptions{Retry: true})
	if err != nil || out.(*rbacv1.ClusterRole).Namespace != "" {
		t.Errorf("%+v: %v", out, err)
	}
}

// TestAdmissionOwnsNothing: what admission adds has no manager, also when nothing else of an update is new, and a client that
// turns to server-side apply does not take it away by not knowing of it.
func TestAdmissionOwnsNothing(t *testing.T) {
	e := builtIn(t)
	p := Create(e, realPod("a"))
	if len(p.Spec.Volumes) == 0 || len(p.Spec.Tolerations) == 0 {
		t.Fatalf("admission has added nothing: %+v", p.Spec)
	}
	own := p.ManagedFields[0].FieldsV1.GetRawString()
	for _, added := range []string{"f:volumes", "f:volumeMounts", "f:tolerations", "f:serviceAccount"} {
		if strings.Contains(own, added) {
			t.Errorf("who created the pod owns %s: %s", added, own)
		}
	}
	if !strings.Contains(own, "f:dnsPolicy") {
		t.Errorf("who created the pod does not own the defaults: %s", own)
	}
	job := Create(e, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "j"}, Spec: batchv1.JobSpec{
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: "Never", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}})
	if own := job.ManagedFields[0].FieldsV1.GetRawString(); job.Spec.Selector == nil || strings.Contains(own, "f:selector") {
		t.Errorf("who created the job owns its selector: %s", own)
	}
	e.Time = e.Time.Add(time.Hour)
	for what, change := range map[string]func(*corev1.Pod){
		"nothing": func(*corev1.Pod) {},
		"status":  func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
	} {
		if again := Mutate(e, p, "", change); again.ResourceVersion != p.ResourceVersion {
			t.Errorf("an update that changes %s wrote %+v", what, again.ManagedFields)
		}
	}
}
