package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func portOf(t *testing.T, addr string) int {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(p)
	return n
}

func TestHTTP(t *testing.T) {
	var got *http.Request
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, "http://example.invalid/", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/bad":
			w.WriteHeader(500)
		case "/slow":
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	c := &corev1.Container{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(portOf(t, srv.Listener.Addr().String()))}}}
	for path, want := range map[string]string{"/": "ok ", "/here": "ok ", "/away": "ok warning Probe terminated redirects",
		"/bad": "failed HTTP probe failed with statuscode: 500", "/slow": "context deadline exceeded"} {
		limit := time.Minute
		if path == "/slow" {
			limit = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		out := Exec(nil).probe(ctx, Target{Container: c, PodIP: "127.0.0.1"}, &corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("web"), Scheme: "HTTPS",
			HTTPHeaders: []corev1.HTTPHeader{{Name: "Host", Value: "me"}, {Name: "X", Value: "y"}}}}, time.Second)
		cancel()
		if s := text(out); !strings.Contains(s, want) {
			t.Errorf("%s: got %q, want %q", path, s, want)
		}
	}
	if got.Host != "me" || got.Header.Get("X") != "y" || !strings.HasPrefix(got.UserAgent(), "kube-probe/") {
		t.Errorf("request %+v", got)
	}
}

func text(o outcome) string {
	switch {
	case o.err != nil:
		return "error " + o.err.Error()
	case o.warning:
		return "ok warning " + o.text
	case o.ok:
		return "ok " + o.text
	}
	return "failed " + o.text
}

func TestTCPAndGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	h := grpchealth.NewServer()
	h.SetServingStatus("down", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	grpc_health_v1.RegisterHealthServer(g, h)
	go g.Serve(l)
	defer g.Stop()
	port, down := portOf(t, l.Addr().String()), "down"
	free, _ := net.Listen("tcp", "127.0.0.1:0")
	closed := portOf(t, free.Addr().String())
	free.Close()
	for _, c := range []struct {
		h    corev1.ProbeHandler
		want string
	}{
		{corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}, "ok"},
		{corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(closed)}}, "connection refused"},
		{corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("none")}}, "error invalid port number: none"},
		{corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port)}}, "ok"},
		{corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port), Service: &down}}, `service unhealthy (responded with "NOT_SERVING")`},
		{corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(closed)}}, "timeout: failed to connect service"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if s := text(Exec(nil).probe(ctx, Target{Container: &corev1.Container{}, PodIP: "127.0.0.1"}, &c.h, time.Second)); !strings.Contains(s, c.want) {
			t.Errorf("%+v: got %q, want %q", c.h, s, c.want)
		}
		cancel()
	}
}

// TestStartupGatesOthers: readiness waits for startup, and too many failures of liveness are told once.
func TestStartupGatesOthers(t *testing.T) {
	calls := make(chan string, 100)
	fail := map[string]bool{"live": true}
	exec := Exec(func(_ context.Context, _ string, args []string, out io.Writer, _ time.Duration) (int, error) {
		calls <- args[0]
		if fail[args[0]] {
			fmt.Fprint(out, "no")
			return 1, nil
		}
		return 0, nil
	})
	changed := make(chan types.UID, 100)
	var events []string
	m := New(Config{Exec: exec, Changed: func(u types.UID) { changed <- u }, Event: func(_ *corev1.Pod, _, reason, msg string) { events = append(events, reason+": "+msg) }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { m.Run(ctx); close(done) }()
	p := func(name string, n int32) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{name}}}, FailureThreshold: n, PeriodSeconds: 1}
	}
	c := &corev1.Container{Name: "c", StartupProbe: p("start", 1), ReadinessProbe: p("ready", 1), LivenessProbe: p("live", 1)}
	m.Watch(Target{Pod: &corev1.Pod{}, Container: c, ID: "x", StartedAt: time.Now()}, false)
	if first := <-calls; first != "start" {
		t.Errorf("first call is %q", first)
	}
	for end := time.After(time.Minute); ; {
		if r, _ := m.Result("x"); r.Started && r.Ready && r.Failed == Liveness {
			break
		}
		select {
		case <-changed:
		case <-end:
			r, _ := m.Result("x")
			t.Fatalf("result %+v", r)
		}
	}
	m.Forget("x")
	if _, ok := m.Result("x"); ok {
		t.Error("still probed")
	}
	cancel()
	<-done
	if len(events) != 1 || events[0] != "Unhealthy: Liveness probe failed: no" {
		t.Errorf("events %q", events)
	}
}

// TestOutputIsBounded: a command that never stops talking, on both streams, does not fill the daemon's memory.
func TestOutputIsBounded(t *testing.T) {
	var o Output
	var streams sync.WaitGroup
	for range 2 {
		streams.Go(func() {
			if n, err := io.Copy(&o, io.LimitReader(endless{}, 4<<20)); n != 4<<20 || err != nil {
				t.Error(n, err)
			}
		})
	}
	streams.Wait()
	if n := len(o.String()); n != maxOutput {
		t.Errorf("%d bytes are kept", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
