package apiserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/websocket"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/fairness"
	"codeberg.org/skiff/skiff/server/pki"
)

// listening is a server behind TLS; its users are those of bearer tokens, and may do everything.
type listening struct {
	*env
	url, address string
	roots        *tls.Config
	metrics      *prometheus.Registry
}

func listen(t *testing.T, change ...func(*apiserver.Config)) *listening {
	t.Helper()
	ca, err := pki.LoadCA(t.TempDir(), "ca", "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	serving := pki.NewRotating(ca, func() pki.Leaf {
		return pki.Leaf{CommonName: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true}
	}, time.Now)
	l := &listening{metrics: prometheus.NewRegistry(), roots: &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}}
	l.env = newEnv(t, append([]func(*apiserver.Config){func(c *apiserver.Config) {
		c.GetCertificate, c.Now, c.Metrics = serving.GetCertificate, time.Now, l.metrics
		c.Authorizers = authz.Chain{everything{}}
	}}, change...)...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.address, l.url = ln.Addr().String(), "https://"+ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

// everything is allowed.
type everything struct{}

func (everything) Opinion(context.Context, *authz.Attributes) (authz.Decision, string) {
	return authz.Allow, ""
}

func (l *listening) client(t *testing.T, h2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: l.roots.Clone(), ForceAttemptHTTP2: h2, MaxIdleConnsPerHost: 300}
	if !h2 {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func (l *listening) call(c *http.Client, token, method, path, body string) (int, []byte, error) {
	r, err := http.NewRequest(method, l.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	if method == "PATCH" {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, data, err
}

// raw opens a TLS connection that speaks HTTP/1.1 and sends text.
func (l *listening) raw(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", l.address, l.roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

// gauge adds up a metric's samples that carry the label value.
func (l *listening) gauge(t *testing.T, name, value string) (sum float64) {
	t.Helper()
	families, err := l.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			for _, label := range m.Label {
				if label.GetValue() == value {
					sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after %v", what, limit)
		}
	}
}

// percentile of durations.
func percentile(list []time.Duration, p float64) time.Duration {
	slices.Sort(list)
	return list[int(p*float64(len(list)-1))]
}

// TestALoopStarvesNobody: 200 workers of one service account list and write as fast as they can; another user's gets
// and a node's lease updates are answered all the same.
func TestALoopStarvesNobody(t *testing.T) {
	users["loop"] = &user.DefaultInfo{Name: "system:serviceaccount:default:loop", Groups: []string{"system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"}}
	users["loop2"] = &user.DefaultInfo{Name: "looping-person", Groups: []string{"system:authenticated"}}
	users["person"] = &user.DefaultInfo{Name: "person", Groups: []string{"system:authenticated"}}
	users["kubelet"] = &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes", "system:authenticated"}}
	for _, loop := range []string{"loop", "loop2"} { // loop2 shares person's priority level
		t.Run(loop, func(t *testing.T) { testLoop(t, loop) })
	}
}

func testLoop(t *testing.T, loop string) {
	l := listen(t, func(c *apiserver.Config) {
		var err error
		if c.Fairness, err = fairness.New(fairness.Config{Seats: 64, Metrics: c.Metrics}); err != nil {
			t.Fatal(err)
		}
	})
	for i := range 500 {
		l.create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("c%d", i)}, Data: map[string]string{"a": strings.Repeat("x", 500)}})
	}
	l.create(t, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: "n1"}})
	beat := 0
	person, node := l.client(t, true), l.client(t, true)
	measure := func() (gets, beats []time.Duration) {
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
			began := time.Now()
			if code, body, err := l.call(person, "person", "GET", "/api/v1/namespaces/default/configmaps/c1", ""); code != 200 {
				t.Fatalf("get: %d %s %v", code, body, err)
			}
			gets = append(gets, time.Since(began))
			began = time.Now()
			if code, body, err := l.call(node, "kubelet", "PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1", fmt.Sprintf(`{"spec":{"leaseTransitions":%d}}`, beat)); code/100 != 2 {
				t.Fatalf("lease: %d %s %v", code, body, err)
			}
			beats = append(beats, time.Since(began))
			beat++
		}
		return gets, beats
	}
	quietGets, quietBeats := measure()

	stop := l.startLoop(t, loop)
	time.Sleep(time.Second)
	gets, beats := measure()
	served, refused := stop()
	t.Logf("quiet: get p50 %v p99 %v, lease p50 %v p99 %v", percentile(quietGets, .5), percentile(quietGets, .99), percentile(quietBeats, .5), percentile(quietBeats, .99))
	t.Logf("with 200 workers (%d served, %d refused): %d gets p50 %v p99 %v, leases p50 %v p99 %v", served, refused, len(gets),
		percentile(gets, .5), percentile(gets, .99), percentile(beats, .5), percentile(beats, .99))
	if percentile(gets, .5) > 10*time.Second || percentile(beats, .5) > 10*time.Second {
		t.Error("somebody starves")
	}
}

// startLoop runs 200 workers in a process of their own, so that they cost the server's processors no more than any other
// process does. stop ends them and tells how many requests were served and refused.
func (l *listening) startLoop(t *testing.T, token string) (stop func() (served, refused int)) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoopWorkers$")
	cmd.Env = append(os.Environ(), "LOOP_URL="+l.url, "LOOP_TOKEN="+token)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() (served, refused int) {
		if !ended {
			ended = true
			_ = in.Close()
			_ = cmd.Wait()
		}
		_, _ = fmt.Sscan(out.String(), &served, &refused)
		return served, refused
	}
	t.Cleanup(func() { end() })
	return end
}

// TestLoopWorkers is what startLoop starts: three of four workers list, the others create.
func TestLoopWorkers(t *testing.T) {
	url, token := os.Getenv("LOOP_URL"), os.Getenv("LOOP_TOKEN")
	if url == "" {
		t.Skip("only for TestALoopStarvesNobody")
	}
	var stop atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	var served, refused atomic.Int64
	var wg sync.WaitGroup
	l := &listening{url: url, roots: &tls.Config{InsecureSkipVerify: true}}
	c := l.client(t, false)
	for i := range 200 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				method, path, body := "GET", "/api/v1/namespaces/default/configmaps", ""
				if i%4 == 3 {
					method, body = "POST", fmt.Sprintf(configMap, fmt.Sprintf("w%d-%d", i, n))
				}
				switch code, _, _ := l.call(c, token, method, path, body); {
				case code == http.StatusTooManyRequests:
					refused.Add(1)
					time.Sleep(50 * time.Millisecond)
				case code/100 == 2:
					served.Add(1)
				}
			}
		})
	}
	wg.Wait()
	fmt.Println(served.Load(), refused.Load())
}

// TestAWatcherThatDoesNotRead is cut, and what it did not read is not kept. How much may wait for it until then is the store's law.
func TestAWatcherThatDoesNotRead(t *testing.T) {
	l := listen(t, func(c *apiserver.Config) { c.SendTimeout = 300 * time.Millisecond })
	big := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "big"}, Data: map[string]string{"a": strings.Repeat("x", 400<<10)}}
	l.create(t, big)
	states := func(count, size int) {
		for i := range count {
			data := strings.Repeat(string(rune('a'+i%26)), size)
			if _, err := l.env.client.Mutate(context.Background(), big, "", func(have api.Object) error {
				have.(*corev1.ConfigMap).Data = map[string]string{"a": data}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func() { states(60, 400<<10) }
	heap := func() int64 {
		states(200, 1) // etcd keeps the last hundred entries of its log
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for range 2 {
		write() // the first of everything, and as much as the cache remembers
	}
	before := heap()
	for range 5 {
		l.raw(t, "GET /api/v1/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\n\r\n")
	}
	h2 := l.client(t, true)
	h2.Timeout = 0
	var bodies []io.Closer
	for range 5 {
		r, _ := http.NewRequest("GET", l.url+"/api/v1/configmaps?watch=1", nil)
		r.Header.Set("Authorization", "Bearer admin")
		resp, err := h2.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, resp.Body)
	}
	open := func() float64 { return l.gauge(t, "apiserver_longrunning_requests", "configmaps") }
	eventually(t, time.Minute, "ten watches", func() bool { return open() == 10 }) // one state fits into a socket
	write()
	eventually(t, time.Minute, "all watches are cut", func() bool { return open() == 0 })
	for _, b := range bodies {
		_ = b.Close() // the client, which is in this process too, has taken 4 MiB of each
	}
	left := heap() - before
	t.Logf("%d KiB are left of 60 states of 400 KiB and ten watchers that did not read", left>>10)
	if left > 20<<20 { // of which 16 MiB may wait for a commit
		t.Error("what watchers do not read is kept")
	}
}

// TestSlowBodiesAndUnreadAnswersEnd with the request's deadline, and give their seats back.
func TestSlowBodiesAndUnreadAnswersEnd(t *testing.T) {
	l := listen(t, func(c *apiserver.Config) { c.RequestTimeout = 5 * time.Second })
	for i := range 200 {
		l.create(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("c%d", i)}, Data: map[string]string{"a": strings.Repeat("x", 100<<10)}})
	}
	slow := l.raw(t, "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	l.raw(t, "GET /api/v1/configmaps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nUser-Agent: x\r\n\r\n")
	busy := func() float64 {
		return l.gauge(t, "apiserver_current_inflight_requests", "readOnly") + l.gauge(t, "apiserver_current_inflight_requests", "mutating")
	}
	eventually(t, time.Minute, "both are there", func() bool { return busy() == 2 })
	began := time.Now()
	_ = slow.SetReadDeadline(time.Now().Add(time.Minute))
	if line, err := bufio.NewReader(slow).ReadString('\n'); err == nil && strings.Contains(line, " 20") {
		t.Errorf("the slow body was answered with %q", line)
	}
	if time.Since(began) > 50*time.Second {
		t.Errorf("the slow body lasted %v", time.Since(began))
	}
	eventually(t, time.Minute, "both are gone", func() bool { return busy() == 0 })
	eventually(t, time.Second, "no seat is held", func() bool {
		return l.gauge(t, "apiserver_flowcontrol_current_executing_seats", "exempt") == 0
	})
}

func TestHandshakesThatDoNotFinishAreCut(t *testing.T) {
	l := listen(t, func(c *apiserver.Config) { c.HandshakeTimeout = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the server speaks first")
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Error("a connection without a handshake stays open")
	}
	headers := l.raw(t, "GET / HTTP/1.1\r\nHost: x\r\n")
	_ = headers.SetReadDeadline(time.Now().Add(5 * time.Second))
	if data, err := io.ReadAll(headers); err != nil {
		t.Errorf("headers that do not end: %q %v", data, err)
	}
}

func TestStreamsAndConnectionsAreCounted(t *testing.T) {
	l := listen(t, func(c *apiserver.Config) { c.MaxStreams, c.MaxConnections = 2, 20 })
	c := l.client(t, true)
	for i, want := range []int{200, 200, 429} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", l.url+"/api/v1/configmaps?watch=1", nil)
		r.Header.Set("Authorization", "Bearer admin")
		resp, err := c.Do(r)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("watch %d: %v %v", i, resp, err)
		}
		defer resp.Body.Close()
		if want == 429 && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if code, _, err := l.call(c, "jane", "GET", "/api/v1/configmaps", ""); code != 200 {
		t.Errorf("a list of somebody else: %d %v", code, err)
	}
	closed := 0
	for range 40 {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
				closed++
			}
		}
	}
	if closed < 20 {
		t.Errorf("%d of 40 connections were refused", closed)
	}
}

func TestWebSocketsTakeNoLongMessages(t *testing.T) {
	l := listen(t)
	config, err := websocket.NewConfig("wss://"+l.address+"/api/v1/configmaps?watch=1", "https://x")
	if err != nil {
		t.Fatal(err)
	}
	config.TlsConfig = l.roots
	config.Header = http.Header{"Authorization": {"Bearer admin"}}
	ws, err := config.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	_, _ = ws.Write(bytes.Repeat([]byte("x"), 1<<20))
	eventually(t, time.Minute, "the watch is cut", func() bool {
		return l.gauge(t, "apiserver_longrunning_requests", "configmaps") == 0
	})
}

func TestAnswersSayHowTheyWereClassified(t *testing.T) {
	users["somebody"] = &user.DefaultInfo{Name: "somebody", Groups: []string{"system:authenticated"}}
	l := listen(t)
	r, _ := http.NewRequest("GET", l.url+"/api/v1/configmaps", nil)
	r.Header.Set("Authorization", "Bearer somebody")
	resp, err := l.client(t, true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, name := range []string{"X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"} {
		if _, ok := resp.Header[http.CanonicalHeaderKey(name)]; !ok {
			t.Errorf("no %s in %v", name, resp.Header)
		}
	}
	if n := l.gauge(t, "apiserver_flowcontrol_dispatched_requests_total", "global-default"); n < 1 {
		t.Errorf("dispatched %v", n)
	}
}
