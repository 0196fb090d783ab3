package apiserver

import (
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/registry"
)

// admitStream asks admission about a stream. What it is asked about is the query, as an object; what it makes of that is
// written back. Logs are read, not connected to, and nobody is asked.
func (q *request) admitStream() error {
	if q.path.sub == "log" || q.sub.New == nil {
		return nil
	}
	options := q.sub.New()
	if err := readStreamOptions(options, q.query, q.proxiedPath()); err != nil {
		return err
	}
	a := &registry.Attributes{Request: q.registryRequest(nil, ""), Object: options}
	if err := q.cfg.Registry.Connect(q.r.Context(), a); err != nil {
		return err
	}
	q.query = writtenStreamOptions(a.Object, q.query)
	return nil
}

// proxiedPath is the path on the backend of a proxy.
func (q *request) proxiedPath() string {
	if q.path.sub != "proxy" {
		return ""
	}
	_, rest := q.proxyPath()
	return rest
}

func readStreamOptions(options runtime.Object, query url.Values, path string) error {
	on := func(name string) bool {
		values, given := query[name]
		if !given || len(values) == 0 {
			return false
		}
		b, _ := parseBool(values[0])
		return b
	}
	switch o := options.(type) {
	case *corev1.PodExecOptions:
		o.Stdin, o.Stdout, o.Stderr, o.TTY = on("stdin"), on("stdout"), on("stderr"), on("tty")
		o.Container, o.Command = query.Get("container"), query["command"]
	case *corev1.PodAttachOptions:
		o.Stdin, o.Stdout, o.Stderr, o.TTY = on("stdin"), on("stdout"), on("stderr"), on("tty")
		o.Container = query.Get("container")
	case *corev1.PodPortForwardOptions:
		for text := range strings.SplitSeq(strings.Join(query["ports"], ","), ",") {
			if text == "" {
				continue
			}
			port, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return apierrors.NewBadRequest(err.Error())
			}
			o.Ports = append(o.Ports, int32(port))
		}
	case *corev1.PodProxyOptions:
		o.Path = path
	case *corev1.ServiceProxyOptions:
		o.Path = path
	case *corev1.NodeProxyOptions:
		o.Path = path
	}
	return nil
}

// writtenStreamOptions is the query with what admission may have changed.
func writtenStreamOptions(options runtime.Object, query url.Values) url.Values {
	var stdin, stdout, stderr, tty bool
	var container string
	command := query["command"]
	switch o := options.(type) {
	case *corev1.PodExecOptions:
		stdin, stdout, stderr, tty, container, command = o.Stdin, o.Stdout, o.Stderr, o.TTY, o.Container, o.Command
	case *corev1.PodAttachOptions:
		stdin, stdout, stderr, tty, container = o.Stdin, o.Stdout, o.Stderr, o.TTY, o.Container
	default:
		return query
	}
	out := url.Values{}
	for name, on := range map[string]bool{"stdin": stdin, "stdout": stdout, "stderr": stderr, "tty": tty} {
		if on {
			out.Set(name, "true")
		}
	}
	if container != "" {
		out.Set("container", container)
	}
	if len(command) > 0 {
		out["command"] = command
	}
	return out
}
