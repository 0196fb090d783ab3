package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a backend and a proxy in front of it.
func pair(t *testing.T, backend http.Handler, change func(*Target)) *httptest.Server {
	t.Helper()
	back := httptest.NewServer(backend)
	t.Cleanup(back.Close)
	p := New(Config{Log: slog.New(slog.DiscardHandler), Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := Target{Address: back.Listener.Addr().String(), Prefix: "/api/v1/x/proxy", Query: r.URL.RawQuery,
			Path: strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1/x/proxy"), Fail: func(err error) { http.Error(w, err.Error(), http.StatusServiceUnavailable) }}
		if change != nil {
			change(&target)
		}
		p.Serve(w, r, target)
	}))
	t.Cleanup(front.Close)
	return front
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPathsAndQueriesArriveAsSent(t *testing.T) {
	front := pair(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s?%s auth=%q", r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Authorization"))
	}), nil)
	_, body := get(t, front.URL+"/api/v1/x/proxy/a%2Fb/c%20d/?q=1&r=%26")
	if body != `/a%2Fb/c%20d/?q=1&r=%26 auth=""` {
		t.Errorf("got %s", body)
	}
}

func TestRedirectsAndLinksLeadThroughTheProxy(t *testing.T) {
	front := pair(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/there/?x=1", http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, `<html><a href="/a">a</a><a href="b">b</a><a href="https://example.com/c">c</a><script>if (a<b) {}</script><p title="/d">`)
	}), nil)
	if resp, _ := get(t, front.URL+"/api/v1/x/proxy/moved"); resp.Header.Get("Location") != "/api/v1/x/proxy/there/?x=1" {
		t.Errorf("Location %s", resp.Header.Get("Location"))
	}
	_, body := get(t, front.URL+"/api/v1/x/proxy/")
	want := `<html><a href="/api/v1/x/proxy/a">a</a><a href="b">b</a><a href="https://example.com/c">c</a><script>if (a<b) {}</script><p title="/d">`
	if body != want {
		t.Errorf("got %s", body)
	}
}

func TestUnreachableBackend(t *testing.T) {
	front := pair(t, http.NotFoundHandler(), func(target *Target) { target.Address = "127.0.0.1:1" })
	if resp, body := get(t, front.URL+"/api/v1/x/proxy/"); resp.StatusCode != 503 || !strings.Contains(body, "error trying to reach service") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestUpgradesPassBytesBothWays(t *testing.T) {
	front := pair(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "SPDY/3.1" {
			t.Errorf("Upgrade %q", r.Header.Get("Upgrade"))
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		line, _ := rw.ReadString('\n')
		io.WriteString(conn, "echo "+line)
	}), nil)
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /api/v1/x/proxy/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n")
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	io.WriteString(conn, "hello\n")
	if line, err := br.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q %v", line, err)
	}
}

// TestLastWordsOfABackendArrive: it reads nothing, says why, and is gone, while the client sends more than any buffer holds.
func TestLastWordsOfABackendArrive(t *testing.T) {
	sent := make(chan struct{})
	front := pair(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n")
		<-sent // bytes wait unread: closing resets the connection
		conn.Close()
	}), nil)
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /api/v1/x/proxy/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n")
	br := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	for i := range 1024 {
		if _, err := conn.Write(make([]byte, 32<<10)); err != nil {
			t.Fatalf("write %d: %v", i, err)
		}
		if i == 0 {
			close(sent)
		}
	}
}

// TestStreamsThatHangAreCut: one on which bytes pass lives on, one that is silent does not.
func TestStreamsThatHangAreCut(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := newIdleConn(a, 500*time.Millisecond)
	defer c.Close()
	go func() {
		for range 20 {
			if _, err := b.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	began, n := time.Now(), 0
	for ; ; n++ {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			break
		}
	}
	if lasted := time.Since(began); n != 20 || lasted < 200*time.Millisecond || lasted > time.Minute {
		t.Errorf("%d bytes in %v", n, lasted)
	}
}

func FuzzRewriteHTML(f *testing.F) {
	f.Add([]byte(`<a href="/x"><img src='y'>`))
	f.Fuzz(func(t *testing.T, page []byte) { rewriteHTML(page, Target{Prefix: "/p", Address: "h:1"}) })
}
