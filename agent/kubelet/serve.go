package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/agent/kubelet/httpapi"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/runtime/container"
)

// serve answers on the HTTPS endpoint.
func (k *Kubelet) serve(ctx context.Context) error {
	if k.cfg.Listen == "" {
		<-ctx.Done()
		return nil
	}
	l, err := net.Listen("tcp", k.cfg.Listen)
	if err != nil {
		return fmt.Errorf("kubelet endpoint: %w", err)
	}
	conf := k.cfg.TLS.Clone()
	conf.ClientCAs, conf.ClientAuth = k.cfg.ClientCA, tls.VerifyClientCertIfGiven
	conf.MinVersion = tls.VersionTLS12
	// Upgraded streams (exec, port-forward) are HTTP/1.1.
	conf.NextProtos = []string{"http/1.1"}
	srv := &http.Server{Handler: k.Handler(), TLSConfig: conf, ReadHeaderTimeout: 30 * time.Second,
		ErrorLog: slog.NewLogLogger(k.cfg.Log.Handler(), slog.LevelDebug), BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("kubelet endpoint: %w", err)
	}
	return nil
}

// Handler of the endpoint, for a caller that has another way in (a tunnel).
func (k *Kubelet) Handler() http.Handler {
	auth := k.cfg.Authorizer
	if auth == nil {
		auth = httpapi.Certificates{}
	}
	return k.countRequests(httpapi.New(httpapi.Config{Node: view{k}, Authorizer: auth, ReadLogs: k.readLogs, Log: k.cfg.Log}))
}

func (k *Kubelet) readLogs(ctx context.Context, w io.Writer, path string, o httpapi.LogOptions) error {
	if k.cfg.ReadLogs == nil {
		return errors.New("this node does not read logs")
	}
	return k.cfg.ReadLogs(ctx, w, path, o)
}

// view is what the endpoint shows of the kubelet.
type view struct{ k *Kubelet }

// shown is the pod with its newest status.
func (w *worker) shown() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := *w.pod
	p.Status = w.report.now
	return &p
}

// Pods of the node.
func (k *Kubelet) Pods() (out []*corev1.Pod) {
	for _, w := range k.workers() {
		out = append(out, w.shown())
	}
	return out
}

func (v view) Pods() []*corev1.Pod { return v.k.Pods() }

func (v view) Pod(namespace, name string, uid types.UID) (*corev1.Pod, bool) {
	var found *corev1.Pod
	for _, w := range v.k.workers() {
		p := w.shown()
		if p.Namespace != namespace || p.Name != name || uid != "" && p.UID != uid && !v.mirrors(p, uid) {
			continue
		}
		if found == nil || p.DeletionTimestamp == nil { // a new pod of the same name is meant, not the one that ends
			found = p
		}
	}
	return found, found != nil
}

// mirrors says whether uid is that of the static pod's mirror.
func (v view) mirrors(p *corev1.Pod, uid types.UID) bool {
	m := v.k.mirror(p)
	return p.Annotations[wellknown.AnnotationConfigSource] == "file" && m != nil && m.UID == uid
}

func (v view) worker(pod *corev1.Pod) *worker {
	v.k.mu.Lock()
	defer v.k.mu.Unlock()
	return v.k.pods[pod.UID]
}

// find the newest attempt of a container.
func (v view) find(pod *corev1.Pod, name string) (c container.Container, ok bool) {
	w := v.worker(pod)
	if w == nil {
		return c, false
	}
	w.mu.Lock()
	id := w.sandbox
	w.mu.Unlock()
	s, _ := v.k.cfg.Runtime.Sandbox(id)
	for _, x := range s.Containers {
		if x.Spec.Labels[labelContainer] == name && (!ok || x.Spec.Attempt > c.Spec.Attempt) {
			c, ok = x, true
		}
	}
	return c, ok
}

func (v view) ContainerID(pod *corev1.Pod, name string) (string, error) {
	if _, _, err := findContainer(pod, name); err != nil {
		return "", fmt.Errorf("container %q in pod %q: %w", name, pod.Name, httpapi.ErrNotFound)
	}
	c, ok := v.find(pod, name)
	if !ok || c.State != container.Running {
		return "", httpapi.BadRequest(fmt.Sprintf("container %q in pod %q is not running: %s", name, pod.Name, notRunning(pod, name)))
	}
	return c.Spec.ID, nil
}

// notRunning is why a container does not run, as the pod's status says.
func notRunning(pod *corev1.Pod, name string) string {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name != name {
				continue
			}
			if w := list[i].State.Waiting; w != nil && w.Message != "" {
				return w.Reason + ": " + w.Message
			}
			if t := list[i].State.Terminated; t != nil {
				return fmt.Sprintf("it has ended (%s, exit code %d)", t.Reason, t.ExitCode)
			}
		}
	}
	return waitReason(pod, name)
}

func (v view) LogPath(pod *corev1.Pod, name string, previous bool) (string, <-chan struct{}, error) {
	w := v.worker(pod)
	if _, _, err := findContainer(pod, name); err != nil || w == nil {
		return "", nil, fmt.Errorf("container %q in pod %q: %w", name, pod.Name, httpapi.ErrNotFound)
	}
	attempt, running := -1, false
	if c, ok := v.find(pod, name); ok {
		attempt, running = c.Spec.Attempt, c.State == container.Running
	} else {
		w.mu.Lock()
		if past := w.past[name]; len(past) > 0 {
			attempt = past[0].Attempt
		}
		w.mu.Unlock()
	}
	if previous {
		if attempt < 1 {
			return "", nil, httpapi.BadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", name, pod.Name))
		}
		return logPath(w.logDir(), name, attempt-1), nil, nil
	}
	if attempt < 0 {
		return "", nil, httpapi.BadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", name, pod.Name, waitReason(pod, name)))
	}
	var ended chan struct{}
	if running {
		ended = make(chan struct{})
		go v.await(w, name, attempt, ended)
	}
	return logPath(w.logDir(), name, attempt), ended, nil
}

func waitReason(pod *corev1.Pod, name string) string {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name && list[i].State.Waiting != nil {
				return list[i].State.Waiting.Reason
			}
		}
	}
	return "ContainerCreating"
}

// await closes ended when the attempt no longer runs. It is for followers of logs: they are few, and a look a second at
// memory is cheaper than a subscription of each.
func (v view) await(w *worker, name string, attempt int, ended chan<- struct{}) {
	defer close(ended)
	for {
		select {
		case <-w.ended:
			return
		case <-time.After(time.Second):
		}
		w.mu.Lock()
		id := w.sandbox
		w.mu.Unlock()
		s, _ := v.k.cfg.Runtime.Sandbox(id)
		alive := false
		for _, c := range s.Containers {
			alive = alive || c.Spec.Labels[labelContainer] == name && c.Spec.Attempt == attempt && c.State == container.Running
		}
		if !alive {
			return
		}
	}
}

func (v view) Exec(ctx context.Context, id string, spec container.ExecSpec) (int, error) {
	return v.k.cfg.Runtime.Exec(ctx, id, spec)
}

func (v view) Attach(ctx context.Context, id string, spec container.AttachSpec) error {
	return v.k.cfg.Runtime.Attach(ctx, id, spec)
}

// Dial enters the pod's network namespace, so that also what listens on localhost there is reached.
func (v view) Dial(ctx context.Context, pod *corev1.Pod, port int32) (net.Conn, error) {
	w := v.worker(pod)
	if w == nil {
		return nil, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, httpapi.ErrNotFound)
	}
	w.mu.Lock()
	id := w.sandbox
	w.mu.Unlock()
	s, ok := v.k.cfg.Runtime.Sandbox(id)
	if !ok || s.State != container.SandboxReady {
		return nil, fmt.Errorf("sandbox of pod %s/%s is not running", pod.Namespace, pod.Name)
	}
	return dialIn(ctx, s.NetNS, port)
}
