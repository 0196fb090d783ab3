package apiserver

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/proxy"
	"codeberg.org/skiff/skiff/server/store"
)

// isConnect: the subresource is a stream that this package serves.
func (q *request) isConnect() bool { return contains(q.sub.Verbs, "connect") }

// connect finds where a stream ends and passes it on.
func (q *request) connect() error {
	if err := q.admitStream(); err != nil {
		return err
	}
	switch q.kind.Plural + "/" + q.path.sub {
	case "pods/log":
		return q.podLog()
	case "pods/exec", "pods/attach":
		return q.podExec()
	case "pods/portforward":
		return q.podPortForward()
	case "pods/proxy":
		return q.proxied(q.podBackend)
	case "services/proxy":
		return q.proxied(q.serviceBackend)
	case "nodes/proxy":
		return q.proxied(q.nodeBackend)
	}
	return errNoRoute()
}

func (q *request) snapshot() *store.Snapshot { return q.cfg.Registry.Snapshot() }

// coreObject looks up an object of a core kind.
func (q *request) coreObject(kindName, namespace, name string) (api.Object, error) {
	kind, _ := q.cfg.Catalogue.ByKind(corev1.SchemeGroupVersion.WithKind(kindName))
	if kind == nil {
		return nil, errNoRoute()
	}
	if obj := q.snapshot().Get(kind, namespace, name); obj != nil {
		return obj, nil
	}
	return nil, apierrors.NewNotFound(kind.GroupResource(), name)
}

func (q *request) pod(name string) (*corev1.Pod, error) {
	obj, err := q.coreObject("Pod", q.path.namespace, name)
	if err != nil {
		return nil, err
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("pod %s/%s is stored as a %T", q.path.namespace, name, obj)
	}
	return pod, nil
}

// kubelet is the target of a node's kubelet.
func (q *request) kubelet(nodeName, path, query string) (proxy.Target, error) {
	obj, err := q.coreObject("Node", "", nodeName)
	if err != nil {
		return proxy.Target{}, err
	}
	node, ok := obj.(*corev1.Node)
	if !ok {
		return proxy.Target{}, fmt.Errorf("node %s is stored as a %T", nodeName, obj)
	}
	host := nodeHost(node)
	if host == "" {
		return proxy.Target{}, apierrors.NewInternalError(fmt.Errorf("node %q has no address", nodeName))
	}
	return proxy.Target{Node: nodeName, Address: net.JoinHostPort(host, strconv.Itoa(kubeletPort(node))), Kubelet: true,
		Path: path, Query: query, Fail: q.failed}, nil
}

func kubeletPort(node *corev1.Node) int {
	if port := node.Status.DaemonEndpoints.KubeletEndpoint.Port; port != 0 {
		return int(port)
	}
	return wellknown.KubeletPort
}

// nodeHost is the address to call a node by.
func nodeHost(node *corev1.Node) string {
	for _, want := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeInternalDNS, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == want && a.Address != "" {
				return a.Address
			}
		}
	}
	return ""
}

// failed answers an error of a stream.
func (q *request) failed(err error) { q.fail(q.w, q.r, err) }

// container is the one that was asked for, or the only one there is.
func (q *request) container(pod *corev1.Pod) (string, error) {
	name := q.query.Get("container")
	if name == "" {
		if len(pod.Spec.Containers) == 1 {
			return pod.Spec.Containers[0].Name, nil
		}
		text := fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", pod.Name, containerNames(pod.Spec.Containers))
		if len(pod.Spec.InitContainers) > 0 {
			text += fmt.Sprintf(" or one of the init containers: %v", containerNames(pod.Spec.InitContainers))
		}
		return "", apierrors.NewBadRequest(text)
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return name, nil
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

func containerNames(list []corev1.Container) []string {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	return names
}

// podPath is kubelet's path for a pod and one of its containers.
func podPath(endpoint string, pod *corev1.Pod, rest ...string) string {
	parts := append([]string{"", endpoint, pod.Namespace, pod.Name}, rest...)
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// podExec passes exec and attach on: kubelet speaks both SPDY and WebSocket.
func (q *request) podExec() error {
	pod, err := q.pod(q.path.name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	container, err := q.container(pod)
	if err != nil {
		return err
	}
	query := url.Values{}
	for param, kubelets := range map[string]string{"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"} {
		if text, given := q.get(param); given {
			if on, _ := parseBool(text); on {
				query.Set(kubelets, "1")
			}
		}
	}
	if q.path.sub == "exec" {
		if len(q.query["command"]) == 0 {
			return apierrors.NewBadRequest("you must specify at least 1 command for the container")
		}
		query["command"] = q.query["command"]
	}
	return q.toKubelet(pod, podPath(q.path.sub, pod, container), query)
}

func (q *request) podPortForward() error {
	pod, err := q.pod(q.path.name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	query := url.Values{}
	if ports := q.query["ports"]; len(ports) > 0 {
		query.Set("port", strings.Join(ports, ","))
	}
	return q.toKubelet(pod, podPath("portForward", pod), query)
}

func (q *request) toKubelet(pod *corev1.Pod, path string, query url.Values) error {
	target, err := q.kubelet(pod.Spec.NodeName, path, query.Encode())
	if err != nil {
		return err
	}
	target.Check = q.kubeletError
	q.open(target)
	return nil
}

// open passes the request on and counts it while it lasts.
func (q *request) open(target proxy.Target) {
	defer q.streaming()()
	q.proxy.Serve(q.w, q.r, target)
}

// kubeletError turns what kubelet says in plain text into a Status.
func (q *request) kubeletError(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	message := strings.TrimSpace(string(text))
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(message)
	case http.StatusNotFound: // which container, says kubelet
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: message}}
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(fmt.Errorf("%s", message))
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, q.path.verb, schema.GroupResource{Resource: "pods/" + q.path.sub}, q.path.name, message, 0, true)
}
