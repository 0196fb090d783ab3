package kubelet

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podenv"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/agent/kubelet/volume"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/logs"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// containerSpec says to the runtime what the pod says of a container.
func (w *worker) containerSpec(ctx context.Context, pod *corev1.Pod, c *corev1.Container, kind kind, s plan.Step, use usable) (container.ContainerSpec, error) {
	img := w.k.cfg.Images.Get(use.id)
	if img == nil {
		w.mu.Lock()
		delete(w.images, c.Name)
		w.mu.Unlock()
		return container.ContainerSpec{}, fmt.Errorf("image %q is gone", c.Image)
	}
	p := w.podWithAddresses(pod)
	env, lookup, err := podenv.Env(ctx, podenv.Input{Pod: p, Container: c, Objects: w.k.objects, Services: w.k.svc.of(ctx, pod),
		Allocatable: w.k.node.allocatable(), File: func(vol, path string) ([]byte, error) {
			return volume.ReadFile(w.k.volumes.Path(pod, vol), path)
		}})
	if err != nil {
		return container.ContainerSpec{}, err
	}
	hostname, _, _ := podenv.Hostname(pod, w.k.cfg.ClusterDomain)
	spec := container.ContainerSpec{
		ID: newID(), Name: c.Name, Attempt: s.Attempt,
		Labels: map[string]string{labelPodUID: string(w.uid), labelPodName: pod.Name, labelPodNamespace: pod.Namespace, labelContainer: c.Name,
			labelImage: c.Image, labelImageRef: imageRef(img, c.Image), labelBackOff: s.BackOff.String(), labelResources: encodeResources(c)},
		ImageID: img.ID, Args: command(c, img, lookup), Env: mergeEnv(img.Env, hostname, env), Cwd: c.WorkingDir,
		TTY: c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce, Volumes: img.Volumes,
		LogPath:    logPath(w.logDir(), c.Name, s.Attempt),
		Resources:  podres.Container(pod, c, w.k.v2),
		StopSignal: img.StopSignal,
	}
	if len(spec.Args) == 0 {
		return spec, fmt.Errorf("no command specified")
	}
	if spec.Cwd == "" {
		spec.Cwd = img.WorkingDir
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		spec.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	spec.OOMScoreAdj = podres.OOMScoreAdj(pod, c, w.k.node.memory())
	if err := w.secure(&spec, pod, c, img); err != nil {
		return spec, err
	}
	if kind == ephemeral {
		spec.TargetContainer = w.targetID(pod, c.Name)
	}
	if err := logs.MakeDir(spec.LogPath); err != nil {
		return spec, err
	}
	return spec, w.mounts(&spec, pod, c, lookup)
}

// targetID is the running container whose processes an ephemeral one wants to see.
func (w *worker) targetID(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		if e.Name != name || e.TargetContainerName == "" {
			continue
		}
		w.mu.Lock()
		s, _ := w.k.cfg.Runtime.Sandbox(w.sandbox)
		w.mu.Unlock()
		for _, c := range s.Containers {
			if c.Spec.Labels[labelContainer] == e.TargetContainerName && c.State == container.Running {
				return c.Spec.ID
			}
		}
	}
	return ""
}

// imageRef is the image as its registry knows it, or its ID if it came without one.
func imageRef(img *image.Image, ref string) string {
	host, path := splitRef(ref)
	for _, d := range img.Digests {
		if strings.HasPrefix(d, host+"/"+path+"@") {
			return d
		}
	}
	if len(img.Digests) > 0 {
		return img.Digests[0]
	}
	return img.ID
}

// command is the whole command line: the pod's command and args over the image's.
func command(c *corev1.Container, img *image.Image, lookup func(string) (string, bool)) []string {
	args := podenv.ExpandAll(c.Args, lookup)
	if len(c.Command) > 0 {
		return append(podenv.ExpandAll(c.Command, lookup), args...)
	}
	if len(args) == 0 {
		args = img.Cmd
	}
	return append(slices.Clone(img.Entrypoint), args...)
}

// mergeEnv puts the pod's variables over the image's. An image's entry without "=" sets nothing: it takes away what was set
// before it, as in Docker and containerd.
func mergeEnv(img []string, hostname string, pod []string) []string {
	var out []string
	index := map[string]int{}
	set := func(kv string) {
		name, _, ok := strings.Cut(kv, "=")
		if !ok {
			if i, had := index[name]; had {
				out[i] = ""
			}
			return
		}
		if name == "" || strings.ContainsRune(kv, 0) {
			return // no variable: a process cannot have it
		}
		if i, ok := index[name]; ok {
			out[i] = kv
			return
		}
		index[name] = len(out)
		out = append(out, kv)
	}
	set(defaultPath)
	set("HOSTNAME=" + hostname)
	for _, kv := range img {
		set(kv)
	}
	for _, kv := range pod {
		set(kv)
	}
	return slices.DeleteFunc(out, func(kv string) bool { return kv == "" })
}

// standardMounts are the files that the node manages for every container.
func (w *worker) standardMounts(spec *container.ContainerSpec, pod *corev1.Pod, c *corev1.Container) error {
	hosts, err := w.writeNetFiles(pod)
	if err != nil {
		return err
	}
	spec.Mounts = append(spec.Mounts, hosts...)
	shm := "/dev/shm"
	if !pod.Spec.HostIPC {
		if shm, err = w.k.volumes.Shm(w.uid); err != nil {
			return err
		}
	}
	spec.Mounts = append(spec.Mounts, container.Mount{Source: shm, Destination: "/dev/shm"})
	if c.TerminationMessagePath != "" {
		path, err := w.newMessageFile(c.Name, spec.Attempt)
		if err != nil {
			return fmt.Errorf("make the termination message file: %w", err)
		}
		spec.Labels[labelMessagePath] = path
		spec.Mounts = append(spec.Mounts, container.Mount{Source: path, Destination: c.TerminationMessagePath})
	}
	if c.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		spec.Labels[labelFallback] = "true"
	}
	spec.Labels[labelGrace] = strconv.Itoa(int(graceOf(pod).Seconds()))
	return nil
}
