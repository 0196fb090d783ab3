package kubelet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/internal/wellknown"
)

// maxManifest is the largest static pod that is read.
const maxManifest = 1 << 20

// watchFiles runs the pods that files describe. Files are read when the kernel says that they changed.
func (k *Kubelet) watchFiles(ctx context.Context) error {
	dir := k.cfg.Paths.PodManifests()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of static pods: %w", err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_DELETE); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	buf := make([]byte, 16<<10)
	for {
		// Files that cannot be read at all are no reason to end the pods that they describe.
		if pods, err := k.readFiles(dir); err == nil {
			k.setFiles(pods)
		} else {
			k.cfg.Log.Error("cannot read static pods", "dir", dir, "err", err)
		}
		if _, err := f.Read(buf); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
}

// setFiles makes the static pods be these.
func (k *Kubelet) setFiles(pods []*corev1.Pod) {
	want := map[types.UID]*corev1.Pod{}
	for _, p := range pods {
		want[p.UID] = p
	}
	ending := map[types.NamespacedName]<-chan struct{}{}
	for _, w := range k.workers() {
		if !w.static {
			continue
		}
		p := w.current()
		w.mu.Lock()
		removed := w.removed
		w.mu.Unlock()
		if want[w.uid] != nil && !removed {
			delete(want, w.uid)
			continue
		}
		w.remove(nil)
		ending[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}] = w.ended
	}
	for _, p := range want {
		// A changed file is a new pod; it begins when the old one has ended.
		k.add(p, true, ending[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}])
	}
	k.mu.Lock()
	first := !k.heardFiles
	k.heardFiles = true
	k.mu.Unlock()
	if first {
		k.sweep()
	}
}

// readFiles parses every file of the directory. What is wrong with one is reported and harms no other.
func (k *Kubelet) readFiles(dir string) (out []*corev1.Pod, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || !hasExt(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		p, err := k.readFile(path)
		if err == nil && names[p.Namespace+"/"+p.Name] != "" {
			err = fmt.Errorf("pod %s/%s is also in %s", p.Namespace, p.Name, names[p.Namespace+"/"+p.Name])
		}
		if err != nil {
			k.cfg.Log.Error("a static pod is skipped", "file", path, "err", err)
			continue
		}
		names[p.Namespace+"/"+p.Name] = path
		out = append(out, p)
	}
	return out, nil
}

func hasExt(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// readFile reads one static pod. A file that is no regular file (a pipe would block) is refused.
func (k *Kubelet) readFile(path string) (*corev1.Pod, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxManifest {
		return nil, fmt.Errorf("larger than %d bytes", maxManifest)
	}
	return parseStatic(data, path, k.cfg.NodeName)
}

// parseStatic decodes and checks a static pod, and gives it the name, UID and marks that the API's mirror has.
func parseStatic(data []byte, path, node string) (*corev1.Pod, error) {
	p := &corev1.Pod{}
	if err := yaml.Unmarshal(data, p); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if p.Kind != "Pod" || p.APIVersion != "v1" {
		return nil, fmt.Errorf("is %s %q, not v1 \"Pod\"", p.APIVersion, p.Kind)
	}
	p.Name += "-" + node
	if p.Namespace == "" {
		p.Namespace = "default"
	}
	if err := checkStatic(p); err != nil {
		return nil, err
	}
	h := sha256.Sum256([]byte(node + "\n" + path + "\n" + string(data)))
	hash := hex.EncodeToString(h[:16])
	p.UID = types.UID(hash)
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[wellknown.AnnotationConfigSource] = "file"
	p.Annotations[wellknown.AnnotationConfigHash] = hash
	p.Spec.NodeName = node
	p.Status = corev1.PodStatus{}
	p.ResourceVersion, p.DeletionTimestamp, p.OwnerReferences, p.Finalizers = "", nil, nil, nil
	p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	setDefaults(p)
	return p, refersToNothing(p)
}

// refersToNothing refuses a static pod that names an object of the API: the node may not read it for a pod that it made itself.
func refersToNothing(p *corev1.Pod) error {
	for r := range podrefs.Of(p) {
		if !r.Resource.Description() {
			return fmt.Errorf("%s: Forbidden: static pods may not reference %s", r.Field, r.Resource)
		}
	}
	return nil
}

func checkStatic(p *corev1.Pod) error {
	if msgs := validation.IsDNS1123Subdomain(p.Name); len(msgs) > 0 {
		return fmt.Errorf("metadata.name: Invalid value: %q: %s", p.Name, msgs[0])
	}
	if msgs := validation.IsDNS1123Label(p.Namespace); len(msgs) > 0 {
		return fmt.Errorf("metadata.namespace: Invalid value: %q: %s", p.Namespace, msgs[0])
	}
	if len(p.Spec.Containers) == 0 {
		return errors.New("spec.containers: Required value")
	}
	if len(p.Spec.EphemeralContainers) > 0 {
		return errors.New("spec.ephemeralContainers: Forbidden: static pods have none")
	}
	seen := map[string]bool{}
	var err error
	each(p, func(c *corev1.Container, _ kind) {
		switch msgs := validation.IsDNS1123Label(c.Name); {
		case err != nil:
		case len(msgs) > 0:
			err = fmt.Errorf("container name: Invalid value: %q: %s", c.Name, msgs[0])
		case seen[c.Name]:
			err = fmt.Errorf("container name: Duplicate value: %q", c.Name)
		case c.Image == "":
			err = fmt.Errorf("container %s: image: Required value", c.Name)
		}
		seen[c.Name] = true
	})
	if err != nil {
		return err
	}
	volumes := map[string]bool{}
	for i := range p.Spec.Volumes {
		name := p.Spec.Volumes[i].Name
		if msgs := validation.IsDNS1123Label(name); len(msgs) > 0 || volumes[name] {
			return fmt.Errorf("volume name: Invalid or duplicate value: %q", name)
		}
		volumes[name] = true
	}
	return nil
}
