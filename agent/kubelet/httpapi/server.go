package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"codeberg.org/skiff/skiff/runtime/container"
)

// ErrNotFound is answered with 404, ErrBadRequest with 400; other errors with 500.
var (
	ErrNotFound   = errors.New("not found")
	ErrBadRequest = errors.New("bad request")
)

// BadRequest is an error whose text is shown as it is, with 400.
type BadRequest string

func (e BadRequest) Error() string        { return string(e) }
func (e BadRequest) Is(target error) bool { return target == ErrBadRequest }

// Node is what the endpoint serves.
type Node interface {
	Pods() []*corev1.Pod
	// Pod by namespace and name; uid "" for any.
	Pod(namespace, name string, uid types.UID) (*corev1.Pod, bool)
	// ContainerID of a running container of the pod; errors wrap ErrNotFound.
	ContainerID(pod *corev1.Pod, name string) (string, error)
	// LogPath of the newest attempt, or the one before; following ends when the container does.
	LogPath(pod *corev1.Pod, name string, previous bool) (path string, ended <-chan struct{}, err error)
	Exec(ctx context.Context, id string, spec container.ExecSpec) (int, error)
	Attach(ctx context.Context, id string, spec container.AttachSpec) error
	// Dial a port in the pod's network namespace.
	Dial(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error)
	// Summary of the node and its pods; onlyCPU leaves out all but CPU time and memory.
	Summary(ctx context.Context, onlyCPU bool) *stats.Summary
	Metrics(ctx context.Context, w io.Writer, path string) error
	Configz() any
}

// LogOptions of a read.
type LogOptions struct {
	Follow, Timestamps bool
	Tail               *int64
	Since              time.Time
	LimitBytes         *int64
	// Stream is "stdout", "stderr" or "" for both.
	Stream string
	// Ended is closed when the container has ended and wrote its last line; nil when it has already.
	Ended <-chan struct{}
}

// Config of a Server.
type Config struct {
	Node       Node
	Authorizer Authorizer
	ReadLogs   func(ctx context.Context, w io.Writer, path string, opts LogOptions) error
	Log        *slog.Logger
}

// Server is the endpoint's handler.
type Server struct {
	cfg Config
	mux *http.ServeMux
}

// New returns the handler; it starts nothing.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	handle := s.mux.HandleFunc
	handle("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	handle("GET /pods", s.pods)
	handle("GET /runningpods/", s.pods)
	handle("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	for _, p := range []string{"/{namespace}/{pod}/{container}", "/{namespace}/{pod}/{uid}/{container}"} {
		handle("/exec"+p, s.exec)
		handle("/attach"+p, s.attach)
		handle("POST /run"+p, s.run)
	}
	handle("/portForward/{namespace}/{pod}", s.portForward)
	handle("/portForward/{namespace}/{pod}/{uid}", s.portForward)
	handle("GET /stats/summary", func(w http.ResponseWriter, r *http.Request) {
		onlyCPU, err := onlyCPU(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		writeJSON(w, s.cfg.Node.Summary(r.Context(), onlyCPU))
	})
	handle("GET /configz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.cfg.Node.Configz()) })
	for _, p := range []string{"/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes"} {
		handle("GET "+p, s.metrics)
	}
	return s
}

// ServeHTTP lets nobody see anything, not even which paths there are, before the authorizer has agreed.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch err := s.cfg.Authorizer.Authorize(r, attributes(r)); {
	case errors.Is(err, ErrUnauthenticated):
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	case errors.Is(err, ErrForbidden):
		http.Error(w, err.Error(), http.StatusForbidden)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		s.mux.ServeHTTP(w, r)
	}
}

func onlyCPU(r *http.Request) (bool, error) {
	const name = "only_cpu_and_memory"
	if v := r.URL.Query().Get(name); v != "" {
		only, err := strconv.ParseBool(v)
		if err != nil {
			return false, fmt.Errorf("%s=%s is not a boolean", name, v)
		}
		return only, nil
	}
	return false, nil
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range s.cfg.Node.Pods() {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, list)
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if err := s.cfg.Node.Metrics(r.Context(), w, strings.TrimPrefix(r.URL.Path, "/metrics")); err != nil {
		s.cfg.Log.Warn("cannot write metrics", "path", r.URL.Path, "err", err)
	}
}

// pod finds the pod of the request's path.
func (s *Server) pod(w http.ResponseWriter, r *http.Request) *corev1.Pod {
	ns, name := r.PathValue("namespace"), r.PathValue("pod")
	p, ok := s.cfg.Node.Pod(ns, name, types.UID(r.PathValue("uid")))
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name+"_"+ns), http.StatusNotFound)
		return nil
	}
	return p
}

func fail(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, ErrBadRequest):
		code = http.StatusBadRequest
	}
	http.Error(w, err.Error(), code)
}
