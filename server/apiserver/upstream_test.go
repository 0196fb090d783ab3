package apiserver_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/apiserver"
)

// upstreamMetrics are names, types and labels of upstream's, as dashboards and alerts have them.
var upstreamMetrics = map[string]string{
	"apiserver_request_total":                "COUNTER code component dry_run group resource scope subresource verb version",
	"apiserver_request_duration_seconds":     "HISTOGRAM component dry_run group resource scope subresource verb version",
	"apiserver_request_sli_duration_seconds": "HISTOGRAM component group resource scope subresource verb version",
	"apiserver_response_sizes":               "HISTOGRAM component group resource scope subresource verb version",
	"apiserver_current_inflight_requests":    "GAUGE request_kind",
	"kubernetes_build_info":                  "GAUGE build_date compiler git_commit git_tree_state git_version go_version major minor platform",
	"apiserver_storage_objects":              "GAUGE resource",
	"apiserver_storage_size_bytes":           "GAUGE storage_cluster_id",
	"etcd_request_duration_seconds":          "HISTOGRAM group operation resource",
	"etcd_requests_total":                    "COUNTER group operation resource",
}

func TestMetricsAreUpstreams(t *testing.T) {
	metrics := prometheus.NewRegistry()
	e := newEnv(t, func(c *apiserver.Config) { c.Metrics = metrics })
	if err := metrics.Register(e.store); err != nil {
		t.Fatal(err)
	}
	const one = `{"metadata":{"name":"a"}}`
	e.do("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", one, "Content-Type: application/json")
	e.do("POST", "/api/v1/namespaces/default/configmaps", one, "Content-Type: application/json")
	e.do("GET", "/api/v1/namespaces/default/configmaps/a", "")
	e.do("GET", "/api/v1/configmaps", "")
	e.do("PATCH", "/api/v1/namespaces/default/configmaps/a?fieldManager=x", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, "Content-Type: application/apply-patch+yaml")
	e.do("DELETE", "/api/v1/namespaces/default/configmaps/a", "")
	e.do("GET", "/readyz", "")
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]*dto.MetricFamily{}
	for _, f := range families {
		have[f.GetName()] = f
	}
	for name, want := range upstreamMetrics {
		f := have[name]
		if f == nil {
			t.Errorf("%s is not there", name)
			continue
		}
		if got := f.GetType().String() + " " + strings.Join(labelNames(f), " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, want := range []string{
		"POST  configmaps resource apiserver 201", "POST All configmaps resource apiserver 201", "GET  configmaps resource apiserver 200",
		"LIST  configmaps cluster apiserver 200", "APPLY  configmaps resource apiserver 200", "DELETE  configmaps resource apiserver 200",
	} {
		if !slices.Contains(requestsOf(have["apiserver_request_total"]), want) {
			t.Errorf("no request %q among %q", want, requestsOf(have["apiserver_request_total"]))
		}
	}
}

func labelNames(f *dto.MetricFamily) (names []string) {
	for _, l := range f.Metric[0].Label {
		names = append(names, l.GetName())
	}
	slices.Sort(names)
	return names
}

func requestsOf(f *dto.MetricFamily) (all []string) {
	for _, m := range f.GetMetric() {
		of := map[string]string{}
		for _, l := range m.Label {
			of[l.GetName()] = l.GetValue()
		}
		all = append(all, strings.Join([]string{of["verb"], of["dry_run"], of["resource"], of["scope"], of["component"], of["code"]}, " "))
	}
	return all
}

func TestHealthChecksByName(t *testing.T) {
	broken := errors.New("broken")
	e := newEnv(t, func(c *apiserver.Config) {
		c.Checks = []apiserver.Check{{Name: "good", Run: func() error { return nil }}, {Name: "first-objects", ReadyOnly: true, Run: func() error { return broken }}}
		c.LoopChecks = func() []apiserver.Check {
			return []apiserver.Check{{Name: "controller/x", NotReady: true, Run: func() error { return nil }}}
		}
	})
	for path, want := range map[string]int{
		"/livez": 200, "/healthz": 200, "/readyz": 500, "/livez/ping": 200, "/livez/log": 200, "/livez/etcd": 200, "/readyz/etcd-readiness": 200, "/readyz/informer-sync": 200,
		"/livez/informer-sync": 404, "/livez/first-objects": 404, "/readyz/first-objects": 500, "/livez/controller/x": 200, "/readyz/controller/x": 404, "/livez/nothing": 404,
		"/readyz?exclude=first-objects": 200, "/readyz/shutdown": 200,
	} {
		if w := e.do("GET", path, ""); w.Code != want {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
	if text := e.do("GET", "/livez?verbose", "").Body.String(); !strings.Contains(text, "[+]ping ok\n[+]log ok\n[+]etcd ok\n") || !strings.HasSuffix(text, "livez check passed\n") {
		t.Errorf("%s", text)
	}
	slis := e.do("GET", "/metrics/slis", "").Body.String()
	for _, want := range []string{`kubernetes_healthcheck{name="etcd",type="livez"} 1`, `kubernetes_healthcheck{name="first-objects",type="readyz"} 0`, `kubernetes_healthchecks_total{name="ping",status="success",type="readyz"}`} {
		if !strings.Contains(slis, want) {
			t.Errorf("%s is not in %s", want, slis)
		}
	}
}

func TestPagesAboutTheServer(t *testing.T) {
	e := newEnv(t, func(c *apiserver.Config) {
		c.Flags = func() map[string]string { return map[string]string{"https-listen-port": "6443"} }
	})
	if w := e.do("GET", "/flagz", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "https-listen-port: 6443") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := e.do("GET", "/statusz", "", "Accept: application/json;v=v1beta1;g=config.k8s.io;as=Statusz"); w.Code != 200 || !strings.Contains(w.Body.String(), `"apiVersion": "config.k8s.io/v1beta1"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := e.do("GET", "/statusz", "", "Accept: application/json"); w.Code != 406 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := e.do("GET", "/flagz", "", "Authorization: Bearer jane"); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestTimeoutParameter(t *testing.T) {
	e := newEnv(t)
	for query, want := range map[string]int{"timeout=foo": 400, "timeout=5": 400, "timeout=1h": 200, "timeout=5s": 200, "timeout=": 200, "timeout=0": 200} {
		if w := e.do("GET", "/api/v1/namespaces/default?"+query, ""); w.Code != want {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}

// kubectl's Accept ends in JSON, which is what there is where there are no tables; scales have one.
func TestSubresourcesAndTables(t *testing.T) {
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
	e := newEnv(t)
	labels := map[string]string{"a": "b"}
	e.create(t, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "w"}, Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(3)), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}})
	w := e.do("GET", "/apis/apps/v1/namespaces/default/deployments/w/scale", "", "Accept: "+table+",application/json")
	var got metav1.Table
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Kind != "Table" || len(got.Rows) != 1 || got.Rows[0].Cells[0] != "w" || got.Rows[0].Cells[1] != float64(3) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	const review = `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`
	w = e.do("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review, "Accept: "+table+",application/json", "Content-Type: application/json")
	if w.Code != 201 || !strings.Contains(w.Body.String(), `"kind":"SelfSubjectAccessReview"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Retry-After comes only with a status that has seconds: clients send such requests again by themselves.
func TestRetryAfterOnlyWithSeconds(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0), ""},
		{apierrors.NewTooManyRequests("later", 10), "10"},
		{apierrors.NewServiceUnavailable("no endpoints"), ""},
		{apierrors.NewTimeoutError("late", 0), ""},
	} {
		if got := apiserver.RetryAfterOf(c.err); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
