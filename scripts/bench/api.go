package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

const apiMethod = `client-go in JSON over TLS (one HTTP/2 connection), 1, 8 and 32 workers; 2,000 operations for each line (500 with one worker). Server CPU is the daemon's CPU time over the
number of operations, over all three. Clients share the cores, so the rates are theirs too. Memory: before the first ConfigMap, and 20 s after 10,000 of 1 KiB were made. Lists: 5,000 pods of
about 2.5 kB in JSON that no scheduler takes, the median of 7, read to the end and not decoded. Watchers: 100 raw watches that count frames, while 8 workers make 1,000 ConfigMaps
of 1 KiB, from the first create until the last watcher has the last event; CPU is the daemon's, with the creates.`

func measureAPI(ctx context.Context, b *bench) error {
	if err := b.startReady(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := b.client.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("warm", "warm"), metav1.CreateOptions{}); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{b.configMaps, b.lists, b.watchers} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

func configMap(name, set string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"set": set}}, Data: map[string]string{"data": strings.Repeat("x", 1024)}}
}

func (b *bench) configMaps(ctx context.Context) error {
	pause(ctx, 5*time.Second)
	before := b.usage()
	configMaps := b.client.CoreV1().ConfigMaps(namespace)
	made := 0
	create := func(int) func(i int) error {
		first := made
		return func(i int) error {
			_, err := configMaps.Create(ctx, configMap(fmt.Sprintf("m-%d", first+i), "memory"), metav1.CreateOptions{})
			return err
		}
	}
	err := b.operations("create", func(workers, n int) func(int) error { defer func() { made += n }(); return create(workers) })
	if err != nil {
		return err
	}
	err = b.operations("get", func(int, int) func(int) error {
		return func(i int) error {
			_, err := configMaps.Get(ctx, fmt.Sprintf("m-%d", i%made), metav1.GetOptions{})
			return err
		}
	})
	if err != nil {
		return err
	}
	err = b.operations("patch", func(workers, _ int) func(int) error {
		return func(i int) error {
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"round":"%d-%d"}}}`, workers, i)
			_, err := configMaps.Patch(ctx, fmt.Sprintf("m-%d", i%made), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		}
	})
	if err != nil {
		return err
	}
	if err := each(10_000-made, 8, create(8)); err != nil {
		return err
	}
	pause(ctx, 20*time.Second)
	after := b.usage()
	b.record("api/memory", after.pss-before.pss)
	b.record("api/memoryanon", after.anon-before.anon)
	return configMaps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "set=memory"})
}

// operations measures one verb with 1, 8 and 32 workers.
func (b *bench) operations(verb string, prepare func(workers, n int) func(i int) error) error {
	var cpu, client time.Duration
	total := 0
	for _, workers := range []int{1, 8, 32} {
		n := 2000
		if workers == 1 {
			n = 500
		}
		do := prepare(workers, n)
		used, own, began := b.cpu(), ownCPU(), time.Now()
		if err := each(n, workers, do); err != nil {
			return err
		}
		b.record(fmt.Sprintf("api/%s%d", verb, workers), float64(n)/time.Since(began).Seconds())
		cpu, client, total = cpu+b.cpu()-used, client+ownCPU()-own, total+n
	}
	b.record("api/"+verb+"cpu", ms(cpu)/float64(total))
	b.record("api/"+verb+"client", ms(client)/float64(total))
	return nil
}

const manyPods = 5000

func (b *bench) lists(ctx context.Context) error {
	if err := each(manyPods, 8, func(i int) error {
		_, err := b.client.CoreV1().Pods(namespace).Create(ctx, typicalPod(fmt.Sprintf("web-7d4b9c6f5-%05d", i)), metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	for _, c := range []struct {
		key, accept, encoding string
	}{
		{"api/listjson", "application/json", "identity"},
		{"api/listproto", "application/vnd.kubernetes.protobuf", "identity"},
		{"api/listgzip", "application/json", "gzip"},
	} {
		var times []time.Duration
		var size int64
		cpu := b.cpu()
		for range 7 {
			began := time.Now()
			body, err := b.raw(ctx, "/api/v1/namespaces/"+namespace+"/pods", c.accept, c.encoding)
			if err != nil {
				return err
			}
			size, err = io.Copy(io.Discard, body)
			if err != nil {
				return err
			}
			_ = body.Close()
			times = append(times, time.Since(began))
		}
		b.record(c.key, quantile(times, .5), fmt.Sprintf("%.1f MB, %.0f CPU ms", float64(size)/1e6, ms(b.cpu()-cpu)/7))
	}
	began, cpu := time.Now(), b.cpu()
	if err := b.client.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return err
	}
	if err := b.noPods(ctx); err != nil {
		return err
	}
	b.record("api/deletecollection", time.Since(began).Seconds(), fmt.Sprintf("%.1f CPU s", (b.cpu()-cpu).Seconds()))
	return nil
}

// raw asks for a path and returns the body as it is on the wire.
func (b *bench) raw(ctx context.Context, path, accept, encoding string) (io.ReadCloser, error) {
	transport, err := rest.TransportFor(b.config)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(b.config.Host, "/")+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Accept-Encoding", encoding)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	return resp.Body, nil
}

// typicalPod is of the size that a Deployment's pods have; no scheduler takes it.
func typicalPod(name string) *corev1.Pod {
	p := pausePod(name)
	p.Spec.SchedulerName = "nobody"
	p.Labels = map[string]string{"app": "web", "pod-template-hash": "7d4b9c6f5", "app.kubernetes.io/name": "web"}
	c := &p.Spec.Containers[0]
	c.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	c.Env = []corev1.EnvVar{{Name: "LOG_LEVEL", Value: "info"}, {Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
	c.Resources = corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intOrString(8080)}}}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web"}}
	p.Spec.Volumes = []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}, Optional: ptr.To(true)}}}}
	return p
}

const (
	watchersCount = 100
	watchEvents   = 1000
)

func (b *bench) watchers(ctx context.Context) error {
	for _, c := range []struct{ key, accept, set string }{
		{"api/watchjson", "application/json", "json"},
		{"api/watchproto", "application/vnd.kubernetes.protobuf;stream=watch", "proto"},
	} {
		wall, cpu, err := b.watchersOf(ctx, c.accept, c.set)
		if err != nil {
			return err
		}
		b.record(c.key, wall.Seconds())
		b.record(c.key+"cpu", cpu.Seconds())
	}
	return nil
}

func (b *bench) watchersOf(ctx context.Context, accept, set string) (wall, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	count := jsonFrames
	if set == "proto" {
		count = lengthFrames
	}
	list, err := b.client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return 0, 0, err
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/configmaps?watch=1&labelSelector=set%%3D%s&resourceVersion=%s", namespace, set, list.ResourceVersion)
	ended := make(chan error, watchersCount)
	for range watchersCount {
		body, err := b.raw(ctx, path, accept, "identity")
		if err != nil {
			return 0, 0, err
		}
		go func() {
			defer body.Close()
			ended <- count(body, watchEvents)
		}()
	}
	used, began := b.cpu(), time.Now()
	if err := each(watchEvents, 8, func(i int) error {
		_, err := b.client.CoreV1().ConfigMaps(namespace).Create(ctx, configMap(fmt.Sprintf("%s-%d", set, i), set), metav1.CreateOptions{})
		return err
	}); err != nil {
		return 0, 0, err
	}
	for range watchersCount {
		if err := <-ended; err != nil {
			return 0, 0, err
		}
	}
	return time.Since(began), b.cpu() - used, nil
}

// jsonFrames reads n events, one a line.
func jsonFrames(r io.Reader, n int) error {
	buf := make([]byte, 64<<10)
	for n > 0 {
		k, err := r.Read(buf)
		for _, c := range buf[:k] {
			if c == '\n' {
				n--
			}
		}
		if err != nil && n > 0 {
			return err
		}
	}
	return nil
}

// lengthFrames reads n events, each after its length in four bytes.
func lengthFrames(r io.Reader, n int) error {
	var head [4]byte
	for range n {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		length := int64(head[0])<<24 | int64(head[1])<<16 | int64(head[2])<<8 | int64(head[3])
		if _, err := io.CopyN(io.Discard, r, length); err != nil {
			return err
		}
	}
	return nil
}

// protobuf is a client of the same cluster in protobuf.
func (c *cluster) protobuf() (kubernetes.Interface, error) {
	config := rest.CopyConfig(c.config)
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return kubernetes.NewForConfig(config)
}
