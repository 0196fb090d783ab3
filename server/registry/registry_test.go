package registry_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
	"codeberg.org/skiff/skiff/server/store"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"a": "1"}}
}

func pod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func wantErr(t *testing.T, err error, reason metav1.StatusReason, text string) {
	t.Helper()
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		t.Fatalf("got %v, want a Status with reason %s", err, reason)
	}
	if status.ErrStatus.Reason != reason || !strings.Contains(status.ErrStatus.Message, text) {
		t.Fatalf("got %s %q, want %s with %q", status.ErrStatus.Reason, status.ErrStatus.Message, reason, text)
	}
}

func TestCreate(t *testing.T) {
	e := Start(t, Options{})
	sent := configMap("a")
	got := Create(e, sent)
	if sent.UID != "" {
		t.Error("Create changed what it was given")
	}
	if got.UID == "" || got.ResourceVersion == "" || !got.CreationTimestamp.Time.Equal(e.Time) {
		t.Errorf("metadata is not complete: %+v", got.ObjectMeta)
	}
	if m := got.ManagedFields; len(m) != 1 || m[0].Manager != "test" || m[0].FieldsV1.GetRawString() != `{"f:data":{".":{},"f:a":{}}}` {
		t.Errorf("managedFields: %+v", m)
	}
	_, err := TryCreate(e, configMap("a"))
	wantErr(t, err, metav1.StatusReasonAlreadyExists, `configmaps "a" already exists`)
	_, err = TryCreate(e, configMap("Bad_Name"))
	wantErr(t, err, metav1.StatusReasonInvalid, `ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain`)
	_, err = TryCreate(e, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}})
	wantErr(t, err, metav1.StatusReasonInvalid, "metadata.name: Required value: name or generateName is required")
	_, err = TryCreate(e, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}})
	wantErr(t, err, metav1.StatusReasonInvalid, "spec.containers: Required value")
}

func TestCreateInAnotherNamespace(t *testing.T) {
	e := Start(t, Options{})
	req := e.Request(configMap("a"))
	req.Namespace = "other"
	_, err := e.Registry.Create(e.Ctx, req, configMap("a"))
	wantErr(t, err, metav1.StatusReasonBadRequest, "the namespace of the provided object does not match the namespace sent on the request")
}

func TestGenerateName(t *testing.T) {
	e := Start(t, Options{})
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "web-"}}
	a, b := Create(e, obj), Create(e, obj)
	if a.Name == b.Name || !strings.HasPrefix(a.Name, "web-") || len(a.Name) != len("web-")+5 {
		t.Errorf("names %q and %q", a.Name, b.Name)
	}
}

func TestDryRun(t *testing.T) {
	e := Start(t, Options{})
	req := e.Request(configMap("a"))
	req.DryRun = true
	if _, err := e.Registry.Create(e.Ctx, req, configMap("a")); err != nil {
		t.Fatal(err)
	}
	if _, ok := Get(e, configMap("a")); ok {
		t.Fatal("a dry run stored something")
	}
	Create(e, configMap("a"))
	_, err := e.Registry.Create(e.Ctx, req, configMap("a"))
	wantErr(t, err, metav1.StatusReasonAlreadyExists, "")
	if _, _, err := e.Registry.Delete(e.Ctx, req, nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := Get(e, configMap("a")); !ok {
		t.Fatal("a dry run deleted something")
	}
}

func TestUpdate(t *testing.T) {
	e := Start(t, Options{})
	first := Create(e, configMap("a"))
	second := Mutate(e, first, "", func(c *corev1.ConfigMap) { c.Data["b"] = "2" })
	if second.ResourceVersion == first.ResourceVersion || second.UID != first.UID {
		t.Errorf("after an update: %+v", second.ObjectMeta)
	}
	stale := first.DeepCopy()
	stale.Data["b"] = "3"
	_, err := TryUpdate(e, stale, "")
	wantErr(t, err, metav1.StatusReasonConflict, `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`)

	wrong := second.DeepCopy()
	wrong.UID = "other"
	_, err = TryUpdate(e, wrong, "")
	wantErr(t, err, metav1.StatusReasonConflict, "Precondition failed: UID in precondition: other, UID in object meta: "+string(first.UID))

	unconditional := configMap("a")
	unconditional.Data = map[string]string{"c": "3"}
	if got, err := TryUpdate(e, unconditional, ""); err != nil || got.Data["c"] != "3" || got.CreationTimestamp.IsZero() {
		t.Errorf("an unconditional update gave %+v, %v", got, err)
	}
	_, err = TryUpdate(e, configMap("missing"), "")
	wantErr(t, err, metav1.StatusReasonNotFound, `configmaps "missing" not found`)
}

func TestUpdateThatChangesNothing(t *testing.T) {
	e := Start(t, Options{})
	first := Create(e, configMap("a"))
	e.Time = e.Time.Add(time.Hour)
	second := Mutate(e, first, "", func(*corev1.ConfigMap) {})
	if second.ResourceVersion != first.ResourceVersion || !second.ManagedFields[0].Time.Equal(first.ManagedFields[0].Time) {
		t.Errorf("an update that changes nothing made %+v of %+v", second.ObjectMeta, first.ObjectMeta)
	}
}

func TestUpdateRequiresVersion(t *testing.T) {
	e := Start(t, Options{})
	w := Widget().Hub().New()
	w.SetNamespace("default")
	w.SetName("a")
	Create(e, w)
	_, err := TryUpdate(e, w, "")
	wantErr(t, err, metav1.StatusReasonInvalid, "metadata.resourceVersion: Invalid value: 0: must be specified for an update")
}

func TestStatusSubresource(t *testing.T) {
	e := Start(t, Options{})
	p := Create(e, pod("a", "n1"))
	changed := p.DeepCopy()
	changed.Spec.Containers[0].Image = "evil"
	changed.Status.Phase = corev1.PodRunning
	got, err := TryUpdate(e, changed, "status")
	if err != nil {
		t.Fatal(err)
	}
	if got.Status.Phase != corev1.PodRunning || got.Spec.Containers[0].Image != "i" || got.Generation != 1 {
		t.Errorf("a status update made %+v", got)
	}
	if m := got.ManagedFields; len(m) != 2 || m[0].Subresource == m[1].Subresource {
		t.Errorf("managedFields: %+v", m)
	}
	_, err = TryUpdate(e, changed, "status")
	wantErr(t, err, metav1.StatusReasonConflict, "the object has been modified")
	main := Mutate(e, got, "", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed; p.Labels = nil })
	if main.Status.Phase != corev1.PodRunning || main.Labels != nil {
		t.Errorf("an update of the main resource made %+v", main)
	}
}

func TestConcurrentMutations(t *testing.T) {
	e := Start(t, Options{})
	Create(e, configMap("a"))
	const writers, each = 8, 10
	done := make(chan bool)
	for w := range writers {
		go func() {
			defer func() { done <- true }()
			for i := range each {
				Mutate(e, configMap("a"), "", func(c *corev1.ConfigMap) { c.Data[fmt.Sprintf("%d-%d", w, i)] = "" })
			}
		}()
	}
	for range writers {
		<-done
	}
	got, _ := Get(e, configMap("a"))
	if len(got.Data) != 1+writers*each {
		t.Errorf("%d keys, want %d: an update was lost", len(got.Data), 1+writers*each)
	}
}

func seconds(n int64) *metav1.DeleteOptions { return &metav1.DeleteOptions{GracePeriodSeconds: &n} }

func TestDeleteWithGrace(t *testing.T) {
	e := Start(t, Options{})
	Create(e, pod("a", "n1"))
	got, done := e.Delete(pod("a", ""), nil)
	if done || *got.GetDeletionGracePeriodSeconds() != 30 || !got.GetDeletionTimestamp().Time.Equal(e.Time.Add(30*time.Second)) || got.GetGeneration() != 2 {
		t.Fatalf("first delete: done %v, %+v", done, got)
	}
	longer, done := e.Delete(pod("a", ""), seconds(60))
	if done || longer.GetResourceVersion() != got.GetResourceVersion() {
		t.Errorf("a longer grace changed %+v", longer)
	}
	shorter, done := e.Delete(pod("a", ""), seconds(10))
	if done || *shorter.GetDeletionGracePeriodSeconds() != 10 || !shorter.GetDeletionTimestamp().Time.Equal(e.Time.Add(10*time.Second)) {
		t.Errorf("a shorter grace gave %+v", shorter)
	}
	if _, done := e.Delete(pod("a", ""), seconds(0)); !done {
		t.Error("grace 0 did not delete")
	}
	if _, ok := Get(e, pod("a", "")); ok {
		t.Error("the pod is still there")
	}
	Create(e, pod("b", ""))
	if _, done := e.Delete(pod("b", ""), nil); !done {
		t.Error("a pod without a node was not deleted at once")
	}
}

func TestFinalizers(t *testing.T) {
	e := Start(t, Options{})
	c := configMap("a")
	c.Finalizers = []string{"example.com/hold"}
	Create(e, c)
	got, done := e.Delete(c, nil)
	if done || got.GetDeletionTimestamp() == nil {
		t.Fatalf("delete: done %v, %+v", done, got)
	}
	again, _ := e.Delete(c, nil)
	if again.GetResourceVersion() != got.GetResourceVersion() {
		t.Error("a second delete changed the object")
	}
	req := e.Request(c)
	_, _, err := e.Registry.Update(e.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
		next := current.DeepCopyObject().(api.Object)
		next.SetFinalizers(append(next.GetFinalizers(), "example.com/new"))
		return next, nil
	}, registry.UpdateOptions{Retry: true})
	wantErr(t, err, metav1.StatusReasonInvalid, "no new finalizers can be added if the object is being deleted")
	Mutate(e, c, "", func(c *corev1.ConfigMap) { c.Finalizers = nil })
	if _, ok := Get(e, c); ok {
		t.Error("the last finalizer went and the object stayed")
	}
}

func TestPropagation(t *testing.T) {
	e := Start(t, Options{})
	for policy, finalizer := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationOrphan:     "orphan",
		metav1.DeletePropagationForeground: "foregroundDeletion",
	} {
		c := Create(e, configMap(strings.ToLower(string(policy))))
		got, done := e.Delete(c, &metav1.DeleteOptions{PropagationPolicy: &policy})
		if done || len(got.GetFinalizers()) != 1 || got.GetFinalizers()[0] != finalizer {
			t.Errorf("%s: done %v, finalizers %v", policy, done, got.GetFinalizers())
		}
	}
	bad := metav1.DeletionPropagation("Sideways")
	_, _, err := e.Registry.Delete(e.Ctx, e.Request(configMap("orphan")), &metav1.DeleteOptions{PropagationPolicy: &bad})
	wantErr(t, err, metav1.StatusReasonInvalid, `propagationPolicy: Unsupported value: "Sideways"`)
}

func TestDeletePreconditions(t *testing.T) {
	e := Start(t, Options{})
	c := Create(e, configMap("a"))
	_, _, err := e.Registry.Delete(e.Ctx, e.Request(c), metav1.NewPreconditionDeleteOptions("other"))
	wantErr(t, err, metav1.StatusReasonConflict, "the UID in the precondition (other) does not match the UID in record")
	_, _, err = e.Registry.Delete(e.Ctx, e.Request(c), metav1.NewRVDeletionPrecondition("1"))
	wantErr(t, err, metav1.StatusReasonConflict, "the ResourceVersion in the precondition (1) does not match")
	if _, done := e.Delete(c, metav1.NewRVDeletionPrecondition(c.ResourceVersion)); !done {
		t.Error("not deleted")
	}
}

func TestNamespaceEnds(t *testing.T) {
	e := Start(t, Options{})
	ns := Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	got, done := e.Delete(ns, nil)
	if done || got.(*corev1.Namespace).Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("done %v, %+v", done, got)
	}
	if again, done := e.Delete(ns, nil); done || again.GetResourceVersion() != got.GetResourceVersion() {
		t.Errorf("a second delete: done %v, %+v", done, again)
	}
	Mutate(e, ns, "finalize", func(ns *corev1.Namespace) { ns.Spec.Finalizers = nil })
	if _, ok := Get(e, ns); ok {
		t.Error("finalized and still there")
	}
}

func TestDeleteCollection(t *testing.T) {
	e := Start(t, Options{})
	for i := range 200 {
		c := configMap(fmt.Sprint("c", i))
		c.Labels = map[string]string{"keep": fmt.Sprint(i%4 == 0)}
		Create(e, c)
	}
	req := e.Request(configMap(""))
	sel, _ := labels.Parse("keep=false")
	got, err := e.Registry.DeleteCollection(e.Ctx, req, registry.ListOptions{Labels: sel}, nil)
	if err != nil || len(got.Items) != 150 {
		t.Fatalf("deleted %d, %v", len(got.Items), err)
	}
	if left, _ := e.Registry.List(e.Ctx, req, registry.ListOptions{}); len(left.Items) != 50 {
		t.Errorf("%d left", len(left.Items))
	}
}

func names(l *registry.List) string {
	var out []string
	for _, o := range l.Items {
		out = append(out, o.GetName())
	}
	return strings.Join(out, " ")
}

func TestList(t *testing.T) {
	e := Start(t, Options{})
	for i, node := range []string{"n1", "n2", "n1", ""} {
		Create(e, pod(fmt.Sprint("p", i), node))
	}
	other := pod("p9", "n1")
	other.Namespace, other.Labels = "other", nil
	Create(e, other)
	req := e.Request(pod("", ""))
	for _, tc := range []struct{ namespace, labels, fields, want string }{
		{"default", "", "", "p0 p1 p2 p3"},
		{"", "", "", "p0 p1 p2 p3 p9"},
		{"default", "", "spec.nodeName=n1", "p0 p2"},
		{"", "", "spec.nodeName=n1", "p0 p2 p9"},
		{"", "app=web", "spec.nodeName=n1", "p0 p2"},
		{"default", "", "spec.nodeName!=n1", "p1 p3"},
		{"default", "", "metadata.name=p2", "p2"},
		{"default", "app notin (web)", "", ""},
		{"", "", "metadata.namespace=other", "p9"},
		{"", "", "status.phase=Running", ""},
	} {
		req.Namespace = tc.namespace
		l, _ := labels.Parse(tc.labels)
		got, err := e.Registry.List(e.Ctx, req, registry.ListOptions{Labels: l, Fields: fields.ParseSelectorOrDie(tc.fields)})
		if err != nil || names(got) != tc.want {
			t.Errorf("%+v: got %q, %v", tc, names(got), err)
		}
	}
	_, err := e.Registry.List(e.Ctx, req, registry.ListOptions{Fields: fields.ParseSelectorOrDie("spec.foo=x")})
	wantErr(t, err, metav1.StatusReasonBadRequest, "field label not supported: spec.foo")
}

func TestListPages(t *testing.T) {
	e := Start(t, Options{})
	for i := range 7 {
		Create(e, configMap(fmt.Sprint("c", i)))
	}
	req := e.Request(configMap(""))
	first, err := e.Registry.List(e.Ctx, req, registry.ListOptions{Limit: 3})
	if err != nil || names(first) != "c0 c1 c2" || *first.Remaining != 4 {
		t.Fatalf("first page: %q %v %v", names(first), first.Remaining, err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(first.Continue)
	if want := fmt.Sprintf(`{"v":"meta.k8s.io/v1","rv":%d,"start":"c2\u0000"}`, first.Revision); string(raw) != want {
		t.Errorf("token %s, want %s", raw, want)
	}
	// What happens meanwhile is not seen.
	e.Delete(configMap("c5"), nil)
	Create(e, configMap("c55"))
	second, err := e.Registry.List(e.Ctx, req, registry.ListOptions{Limit: 3, Continue: first.Continue})
	if err != nil || names(second) != "c3 c4 c5" || *second.Remaining != 1 || second.Revision != first.Revision {
		t.Fatalf("second page: %q %v", names(second), err)
	}
	third, err := e.Registry.List(e.Ctx, req, registry.ListOptions{Limit: 3, Continue: second.Continue})
	if err != nil || names(third) != "c6" || third.Continue != "" || third.Remaining != nil {
		t.Fatalf("third page: %q %v", names(third), err)
	}
	for _, bad := range []string{"%", "e30", base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":5,"start":"../x\u0000"}`))} {
		_, err = e.Registry.List(e.Ctx, req, registry.ListOptions{Limit: 3, Continue: bad})
		wantErr(t, err, metav1.StatusReasonBadRequest, "invalid continue token: continue key is not valid")
	}
	_, err = e.Registry.List(e.Ctx, req, registry.ListOptions{Continue: first.Continue, ResourceVersion: "5"})
	wantErr(t, err, metav1.StatusReasonBadRequest, "specifying resource version is not allowed when using continue")
}

func TestListRevisions(t *testing.T) {
	e := Start(t, Options{})
	a := Create(e, configMap("a"))
	Create(e, configMap("b"))
	req := e.Request(configMap(""))
	exact, err := e.Registry.List(e.Ctx, req, registry.ListOptions{ResourceVersion: a.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	if err != nil || names(exact) != "a" {
		t.Errorf("exact: %q %v", names(exact), err)
	}
	for _, o := range []registry.ListOptions{{}, {ResourceVersion: "0"}, {ResourceVersion: a.ResourceVersion},
		{ResourceVersion: a.ResourceVersion, Limit: 5, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}} {
		if got, err := e.Registry.List(e.Ctx, req, o); err != nil || names(got) != "a b" {
			t.Errorf("%+v: %q %v", o, names(got), err)
		}
	}
	_, err = e.Registry.List(e.Ctx, req, registry.ListOptions{ResourceVersion: "x"})
	wantErr(t, err, metav1.StatusReasonBadRequest, "invalid resource version")
	_, err = e.Registry.List(e.Ctx, req, registry.ListOptions{ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	wantErr(t, err, metav1.StatusReasonInvalid, "resourceVersionMatch is forbidden unless resourceVersion is provided")
	ctx, cancel := context.WithTimeout(e.Ctx, time.Minute)
	defer cancel()
	_, err = e.Registry.List(ctx, req, registry.ListOptions{ResourceVersion: "999999"})
	wantErr(t, err, metav1.StatusReasonTimeout, "Too large resource version: 999999, current: ")
}

// take reads n events.
func take(t *testing.T, w *registry.Watch, n int) (out []string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for len(out) < n {
		select {
		case batch, ok := <-w.Events:
			if !ok {
				t.Fatalf("the watch ended after %v: %v", out, w.Err())
			}
			for _, ev := range batch {
				name := ""
				if ev.Object != nil {
					name = " " + ev.Object.GetName()
				}
				out = append(out, string(ev.Type)+name)
			}
		case <-deadline:
			t.Fatalf("after 10 s only %v", out)
		}
	}
	return out
}

func TestWatchSelectors(t *testing.T) {
	e := Start(t, Options{})
	Create(e, pod("old", "n1"))
	req := e.Request(pod("", ""))
	sel, _ := labels.Parse("app=web")
	w, err := e.Registry.Watch(e.Ctx, req, registry.ListOptions{Labels: sel})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	Create(e, pod("a", "n1"))
	Mutate(e, pod("a", ""), "", func(p *corev1.Pod) { p.Annotations = map[string]string{"x": "y"} })
	Mutate(e, pod("a", ""), "", func(p *corev1.Pod) { p.Labels = nil })
	Mutate(e, pod("a", ""), "", func(p *corev1.Pod) { p.Annotations = nil })
	Mutate(e, pod("a", ""), "", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "web"} })
	e.Delete(pod("a", ""), seconds(0))
	want := "ADDED old,ADDED a,MODIFIED a,DELETED a,ADDED a,DELETED a"
	if got := strings.Join(take(t, w, 6), ","); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWatchLeavingShowsTheLastStateInside(t *testing.T) {
	e := Start(t, Options{})
	p := Create(e, pod("a", "n1"))
	sel, _ := labels.Parse("app=web")
	w, err := e.Registry.Watch(e.Ctx, e.Request(pod("", "")), registry.ListOptions{Labels: sel, ResourceVersion: p.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	left := Mutate(e, p, "", func(p *corev1.Pod) { p.Labels = nil })
	ev := (<-w.Events)[0]
	if ev.Type != store.Deleted || ev.Object.GetLabels()["app"] != "web" || ev.Object.GetResourceVersion() != left.ResourceVersion {
		t.Errorf("got %s %+v", ev.Type, ev.Object)
	}
}

func TestWatchInitialEvents(t *testing.T) {
	e := Start(t, Options{})
	Create(e, pod("a", "n1"))
	Create(e, pod("b", "n2"))
	yes, no := true, false
	byNode := fields.ParseSelectorOrDie("spec.nodeName=n1")
	req := e.Request(pod("", ""))
	w, err := e.Registry.Watch(e.Ctx, req, registry.ListOptions{Fields: byNode, SendInitialEvents: &yes,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Initial) != 1 || w.InitialRevision == 0 {
		t.Errorf("initial: %v at %d", w.Initial, w.InitialRevision)
	}
	Create(e, pod("c", "n2"))
	Create(e, pod("d", "n1"))
	if got := take(t, w, 1); got[0] != "ADDED d" {
		t.Errorf("got %v", got)
	}
	w.Stop()
	for range w.Events {
	}
	w, err = e.Registry.Watch(e.Ctx, req, registry.ListOptions{SendInitialEvents: &no, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	Create(e, pod("e", ""))
	if got := take(t, w, 1); got[0] != "ADDED e" {
		t.Errorf("got %v", got)
	}
}

func TestWatchTimeout(t *testing.T) {
	e := Start(t, Options{})
	w, err := e.Registry.Watch(e.Ctx, e.Request(pod("", "")), registry.ListOptions{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for range w.Events {
	}
	if err := w.Err(); err != nil {
		t.Errorf("a watch that timed out ended with %v", err)
	}
}

func TestUnknownSubresource(t *testing.T) {
	e := Start(t, Options{})
	req := e.Request(Create(e, configMap("a")))
	req.Subresource = "nothing"
	_, err := e.Registry.Get(e.Ctx, req, metav1.GetOptions{})
	wantErr(t, err, metav1.StatusReasonNotFound, "")
	req.Subresource = "status"
	_, err = e.Registry.Create(e.Ctx, req, configMap("a"))
	wantErr(t, err, metav1.StatusReasonMethodNotAllowed, "create is not supported on resources of kind \"configmaps/status\"")
}
