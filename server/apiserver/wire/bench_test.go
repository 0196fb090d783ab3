package wire

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"codeberg.org/skiff/skiff/server/pki"
)

// corkedListener makes connections that can be corked.
type corkedListener struct{ net.Listener }

func (l corkedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &Corked{Conn: conn}, err
}

// serve serves h over HTTP/2, gathered or not, and returns the URL and a client.
func serve(b *testing.B, gather bool, h http.HandlerFunc) (string, *http.Client) {
	ca, err := pki.LoadCA(b.TempDir(), "ca", "test", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	cert, err := ca.Issue(pki.Leaf{CommonName: "server", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{*cert}}}
	h2 := &http2.Server{MaxConcurrentStreams: 1000}
	if !gather {
		h2.WriteByteTimeout = time.Minute
	}
	if err := http2.ConfigureServer(srv, h2); err != nil {
		b.Fatal(err)
	}
	if gather {
		ServeHTTP2(srv, h2, time.Minute)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = srv.ServeTLS(corkedListener{ln}, "", "") }()
	b.Cleanup(func() { _ = srv.Close() })
	return "https://" + ln.Addr().String(), &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
}

// cpu is what this process has used, server and client.
func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func both(b *testing.B, run func(b *testing.B, gather bool)) {
	for name, gather := range map[string]bool{"plain": false, "gathered": true} {
		b.Run(name, func(b *testing.B) { run(b, gather) })
	}
}

// BenchmarkBody: an answer of 12 MB in pieces, as long lists are written.
func BenchmarkBody(b *testing.B) {
	both(b, func(b *testing.B, gather bool) {
		piece := make([]byte, 192<<10)
		url, client := serve(b, gather, func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				_, _ = w.Write(piece)
			}
		})
		used, n := cpu(), 0
		for b.Loop() {
			resp, err := client.Get(url)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			n++
		}
		b.ReportMetric(float64((cpu()-used).Microseconds())/1e3/float64(n), "cpu-ms/op")
	})
}

// BenchmarkStreams: one event of 1.4 kB to each of 100 streams of a connection, until all have read it.
func BenchmarkStreams(b *testing.B) {
	both(b, func(b *testing.B, gather bool) {
		const streams, size = 100, 1400
		event := make([]byte, size)
		var wake [streams]chan struct{}
		for i := range wake {
			wake[i] = make(chan struct{})
		}
		var mu sync.Mutex
		next := 0
		url, client := serve(b, gather, func(w http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			mine := wake[next]
			next++
			mu.Unlock()
			flush := http.NewResponseController(w).Flush
			_ = flush()
			for range mine {
				_, _ = w.Write(event)
				_ = flush()
			}
		})
		var read, ended sync.WaitGroup
		for range streams {
			resp, err := client.Get(url)
			if err != nil {
				b.Fatal(err)
			}
			ended.Go(func() {
				defer resp.Body.Close()
				buf := make([]byte, size)
				for {
					if _, err := io.ReadFull(resp.Body, buf); err != nil {
						return
					}
					read.Done()
				}
			})
		}
		used, n := cpu(), 0
		for b.Loop() {
			read.Add(streams)
			for i := range wake {
				wake[i] <- struct{}{}
			}
			read.Wait()
			n++
		}
		b.ReportMetric(float64((cpu()-used).Microseconds())/1e3/float64(n), "cpu-ms/op")
		for i := range wake {
			close(wake[i])
		}
		ended.Wait()
	})
}
