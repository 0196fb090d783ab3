package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxOutput is how much of a probe's output is kept.
const maxOutput = 10 << 10

// Exec runs a command in a container and returns its combined output. A command that runs longer than timeout is killed
// and the error wraps context.DeadlineExceeded.
type Exec func(ctx context.Context, containerID string, args []string, out io.Writer, timeout time.Duration) (code int, err error)

// outcome of one probe; err is a failure to probe at all.
type outcome struct {
	ok, warning bool
	text        string
	err         error
}

func (o outcome) result() string {
	switch {
	case o.err != nil:
		return "unknown"
	case o.ok:
		return "successful"
	}
	return "failed"
}

func failed(format string, args ...any) outcome { return outcome{text: fmt.Sprintf(format, args...)} }

func (e Exec) probe(ctx context.Context, t Target, h *corev1.ProbeHandler, timeout time.Duration) outcome {
	switch {
	case h.Exec != nil:
		return e.command(ctx, t.ID, h.Exec.Command, timeout)
	case h.HTTPGet != nil:
		req, err := Request(ctx, h.HTTPGet, t.Container, t.PodIP, "kube-probe/1.37")
		if err != nil {
			return outcome{err: err}
		}
		return get(req, timeout)
	case h.TCPSocket != nil:
		port, err := Port(h.TCPSocket.Port, t.Container)
		if err != nil {
			return outcome{err: err}
		}
		return connect(ctx, net.JoinHostPort(or(h.TCPSocket.Host, t.PodIP), strconv.Itoa(port)))
	case h.GRPC != nil:
		return health(ctx, t.PodIP, h.GRPC, timeout)
	}
	return outcome{err: errors.New("missing probe handler")}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Output keeps the first bytes of what a command writes, on both of its streams at once. (It is no bytes.Buffer: io.Copy would fill that past Write.)
type Output struct {
	mu   sync.Mutex
	data []byte
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.data = append(o.data, p[:min(maxOutput-len(o.data), len(p))]...)
	return len(p), nil
}

// String is what was kept.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.data)
}

func (e Exec) command(ctx context.Context, id string, args []string, timeout time.Duration) outcome {
	var out Output
	code, err := e(ctx, id, args, &out, timeout)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || err != nil && ctx.Err() == context.DeadlineExceeded:
		return failed("command timed out: %q timed out after %s", strings.Join(args, " "), timeout)
	case err != nil:
		return outcome{err: err}
	case code != 0:
		return outcome{text: out.String()}
	}
	return outcome{ok: true, text: out.String()}
}

// Port resolves a port's number or name.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	port := p.IntValue()
	if p.Type == intstr.String {
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal {
				port = int(cp.ContainerPort)
			}
		}
	}
	if port <= 0 || port > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", p.String())
	}
	return port, nil
}

// Request of an HTTP probe or hook.
func Request(ctx context.Context, a *corev1.HTTPGetAction, c *corev1.Container, podIP, agent string) (*http.Request, error) {
	port, err := Port(a.Port, c)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(a.Path)
	if err != nil { // a path that no URL has is sent as it is
		u = &url.URL{Path: a.Path}
	}
	u.Scheme = strings.ToLower(or(string(a.Scheme), "http"))
	u.Host = net.JoinHostPort(or(a.Host, podIP), strconv.Itoa(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range a.HTTPHeaders {
		if strings.EqualFold(h.Name, "host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", agent)
	}
	if _, ok := req.Header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	} else if req.Header.Get("Accept") == "" {
		req.Header.Del("Accept")
	}
	return req, nil
}

// client follows redirects on the same host only.
var client = &http.Client{
	Transport: &http.Transport{
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // a probe has no name to verify
		DisableKeepAlives:  true,
		DisableCompression: true,
		Proxy:              nil,
	},
	CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Hostname() != via[0].URL.Hostname() {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	},
}

func get(req *http.Request, timeout time.Duration) outcome {
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) && ue.Timeout() {
			return failed("Get %q: context deadline exceeded (Client.Timeout exceeded while awaiting headers)", req.URL)
		}
		return failed("%v", err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxOutput))
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return outcome{ok: true, warning: true, text: "Probe terminated redirects, Response body: " + string(body)}
	case resp.StatusCode >= 200 && resp.StatusCode < 400:
		return outcome{ok: true, text: string(body)}
	}
	return failed("HTTP probe failed with statuscode: %d", resp.StatusCode)
}

// Hook sends the request of a lifecycle hook.
func Hook(req *http.Request) error {
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxOutput))
	if resp.StatusCode >= 400 {
		return fmt.Errorf("HTTP hook answered %s", resp.Status)
	}
	return nil
}

func connect(ctx context.Context, addr string) outcome {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return failed("%v", err)
	}
	conn.Close()
	return outcome{ok: true}
}

func health(ctx context.Context, ip string, a *corev1.GRPCAction, timeout time.Duration) outcome {
	addr := net.JoinHostPort(ip, strconv.Itoa(int(a.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("kube-probe/1.37"), grpc.WithNoProxy())
	if err != nil {
		return outcome{err: err}
	}
	defer conn.Close()
	service := ""
	if a.Service != nil {
		service = *a.Service
	}
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		switch status.Code(err) {
		case codes.Unimplemented:
			return failed("this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message())
		case codes.DeadlineExceeded:
			return failed("timeout: failed to connect service %q within %s: %s", addr, timeout, status.Convert(err).Message())
		}
		return failed("error: health rpc failed: %v", err)
	}
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return failed("service unhealthy (responded with %q)", resp.GetStatus().String())
	}
	return outcome{ok: true}
}
