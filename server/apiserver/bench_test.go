package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct {
	h    http.Header
	code int
	n    int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(code int)        { d.code = code }
func (d *discard) Write(p []byte) (int, error) { d.n += len(p); return len(p), nil }

func (e *env) serve(b *testing.B, method, path, body string, code int, headers ...string) int {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer admin")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := &discard{h: http.Header{}}
	e.ServeHTTP(w, r)
	if w.code != code {
		b.Fatalf("%s %s: %d", method, path, w.code)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return w.n
}

func BenchmarkGet(b *testing.B) {
	e := newEnv(b)
	body := fmt.Sprintf(`{"metadata":{"name":"x"},"data":{"a":"%s"}}`, strings.Repeat("x", 1024))
	e.serve(b, "POST", "/api/v1/namespaces/default/configmaps", body, 201, "Content-Type: application/json")
	b.ReportAllocs()
	for b.Loop() {
		e.serve(b, "GET", "/api/v1/namespaces/default/configmaps/x", "", 200, "Accept: application/json")
	}
}

func BenchmarkCreate(b *testing.B) {
	e := newEnv(b)
	data := strings.Repeat("x", 1024)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		body := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x%d"},"data":{"a":"%s"}}`, i, data)
		e.serve(b, "POST", "/api/v1/namespaces/default/configmaps?fieldManager=bench", body, 201, "Content-Type: application/json")
	}
}

func BenchmarkList5000Pods(b *testing.B) {
	e := newEnv(b)
	for i := range 5000 {
		e.create(b, benchPod(i))
	}
	for name, headers := range map[string][]string{
		"json":     {"Accept: application/json"},
		"gzip":     {"Accept: application/json", "Accept-Encoding: gzip"},
		"protobuf": {"Accept: application/vnd.kubernetes.protobuf"},
		"table":    {"Accept: application/json;as=Table;v=v1;g=meta.k8s.io"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = e.serve(b, "GET", "/api/v1/pods", "", 200, headers...)
			}
			b.ReportMetric(float64(n), "bytes")
		})
	}
}

func benchPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-7c5ddbdf54-%05d", i), Labels: map[string]string{"app": "web", "pod-template-hash": "7c5ddbdf54"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example.com/web:1.2.3", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
			Env:       []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")}},
		}}},
	}
}

// BenchmarkWatchFanout: one write seen by 100 watches, until the last has it.
func BenchmarkWatchFanout(b *testing.B) {
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		b.Run(accept, func(b *testing.B) {
			e := newEnv(b)
			const watchers = 100
			seen := make(chan struct{}, watchers*64)
			ctx, cancel := context.WithCancel(context.Background())
			var ended sync.WaitGroup
			for range watchers {
				r := httptest.NewRequest("GET", "/api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan", nil).WithContext(ctx)
				r.Header.Set("Authorization", "Bearer admin")
				r.Header.Set("Accept", accept)
				ended.Add(1)
				go func() {
					defer ended.Done()
					e.ServeHTTP(&counting{discard: discard{h: http.Header{}}, seen: seen}, r)
				}()
			}
			for range watchers {
				<-seen // the flush of the header
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				e.serve(b, "POST", "/api/v1/namespaces/default/configmaps", fmt.Sprintf(`{"metadata":{"name":"x%d"}}`, i), 201, "Content-Type: application/json")
				for range watchers {
					<-seen
				}
			}
			cancel()
			ended.Wait()
		})
	}
}

// counting tells of each flush.
type counting struct {
	discard
	seen chan struct{}
}

func (c *counting) Flush() { c.seen <- struct{}{} }
