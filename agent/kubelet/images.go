package kubelet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/runtime/image"
)

// puller joins pulls of the same image with the same credentials into one.
type puller struct {
	images  Images
	records *pullRecords
	mu      sync.Mutex
	pulls   map[string]*pullCall
}

type pullCall struct {
	done chan struct{}
	img  *image.Image
	err  error
}

func newPuller(i Images, r *pullRecords) *puller {
	return &puller{images: i, records: r, pulls: map[string]*pullCall{}}
}

func (p *puller) pull(ctx context.Context, ref string, creds []pullCredential) (*image.Image, error) {
	key := fmt.Sprintf("%s\n%v", ref, creds)
	p.mu.Lock()
	c := p.pulls[key]
	if c == nil {
		c = &pullCall{done: make(chan struct{})}
		p.pulls[key] = c
		// The pull goes on when the first who asked goes away, as others may have joined; the store resumes what is left.
		go func() {
			c.img, c.err = p.recorded(context.WithoutCancel(ctx), ref, creds)
			p.mu.Lock()
			delete(p.pulls, key)
			p.mu.Unlock()
			close(c.done)
		}()
	}
	p.mu.Unlock()
	select {
	case <-c.done:
		return c.img, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// recorded pulls an image and records with what.
func (p *puller) recorded(ctx context.Context, ref string, creds []pullCredential) (*image.Image, error) {
	if err := p.records.begin(ref); err != nil {
		return nil, err
	}
	opts, access := image.PullOptions{}, pullAccess{Everyone: true}
	for _, c := range creds {
		opts.Auths = append(opts.Auths, c.auth)
	}
	opts.Accepted = func(i int) {
		if s := creds[i].secret; s.Hash != "" {
			access = pullAccess{Secrets: []pullSecret{s}}
		}
	}
	img, err := p.images.Pull(ctx, ref, opts)
	id := ""
	if err == nil {
		id = img.ID
	}
	return img, errors.Join(err, p.records.end(ref, id, access))
}

// pull makes a container's image usable for its next start.
func (w *worker) pull(ctx context.Context, pod *corev1.Pod, name string) error {
	c, _, err := findContainer(pod, name)
	if err != nil {
		return err
	}
	defer w.pulled(w.k.cfg.Now())
	img, err := w.k.ensureImage(ctx, pod, c.Image, c.ImagePullPolicy, func(kind, reason, format string, args ...any) {
		w.k.events.container(pod, name, kind, reason, format, args...)
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.images[name] = usable{c.Image, img.ID}
	w.mu.Unlock()
	return nil
}

// event records one event about a container.
type event func(kind, reason, format string, args ...any)

// ensureImage finds the image here or pulls it, by the policy.
func (k *Kubelet) ensureImage(ctx context.Context, pod *corev1.Pod, ref string, policy corev1.PullPolicy, say event) (*image.Image, error) {
	img := k.cfg.Images.Get(ref)
	if policy == "" {
		policy = corev1.PullIfNotPresent
	}
	switch {
	case img != nil && (policy != corev1.PullAlways || strings.Contains(ref, "@sha256:")):
		may, err := k.pulls.records.mayUse(img.ID, ref, func() ([]pullSecret, error) { return k.pullSecrets(ctx, pod, ref) })
		if err != nil {
			return nil, because("ErrImagePull", err)
		}
		if !may {
			break
		}
		say(corev1.EventTypeNormal, "Pulled", "Container image %q already present on machine and can be accessed by the pod", ref)
		return img, nil
	}
	if policy == corev1.PullNever { // also of one that is here, and that the pod has no credentials for
		msg := fmt.Sprintf("Container image %q is not present with pull policy of Never", ref)
		say(corev1.EventTypeWarning, "ErrImageNeverPull", "%s", msg)
		say(corev1.EventTypeWarning, "Failed", "Error: ErrImageNeverPull")
		return nil, because("ErrImageNeverPull", errors.New(msg))
	}
	creds, err := k.pullAuths(ctx, pod, ref)
	if err != nil {
		return nil, because("ErrImagePull", err)
	}
	say(corev1.EventTypeNormal, "Pulling", "Pulling image %q", ref)
	begun := k.cfg.Now()
	img, err = k.pulls.pull(ctx, ref, creds)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		reason := "ErrImagePull"
		if errors.Is(err, image.ErrBadReference) {
			reason = "InvalidImageName"
			err = fmt.Errorf("failed to apply default image tag %q: couldn't parse image name %q: %w", ref, ref, err)
			say(corev1.EventTypeWarning, "InspectFailed", "%v", err)
		} else {
			say(corev1.EventTypeWarning, "Failed", "Failed to pull image %q: %v", ref, err)
		}
		say(corev1.EventTypeWarning, "Failed", "Error: %s", reason)
		return nil, because(reason, err)
	}
	took := k.cfg.Now().Sub(begun).Truncate(time.Millisecond)
	k.counts.imagePull.WithLabelValues(sizeClass(img.Size)).Observe(took.Seconds())
	k.imageUsed(img.ID)
	say(corev1.EventTypeNormal, "Pulled", "Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", ref, took, took, img.Size)
	return img, nil
}

// sizeClass of an image, as upstream's metric has them.
func sizeClass(bytes int64) string {
	const mib, gib = 1 << 20, 1 << 30
	for _, c := range []struct {
		above int64
		name  string
	}{{100 * gib, "GT100GB"}, {60 * gib, "60GB-100GB"}, {40 * gib, "40GB-60GB"}, {30 * gib, "30GB-40GB"}, {20 * gib, "20GB-30GB"}, {10 * gib, "10GB-20GB"}, {5 * gib, "5GB-10GB"},
		{gib, "1GB-5GB"}, {500 * mib, "500MB-1GB"}, {100 * mib, "100MB-500MB"}, {10 * mib, "10MB-100MB"}, {0, "0-10MB"}} {
		if bytes > c.above {
			return c.name
		}
	}
	return ""
}

// layers of an image volume.
func (k *Kubelet) layers(ctx context.Context, pod *corev1.Pod, s *corev1.ImageVolumeSource) ([]string, error) {
	img, err := k.ensureImage(ctx, pod, s.Reference, s.PullPolicy, func(kind, reason, format string, args ...any) {
		k.events.pod(pod, kind, reason, format, args...)
	})
	if err != nil {
		return nil, err
	}
	return img.Layers, nil
}

// dockerConfig is what imagePullSecrets hold.
type dockerConfig struct {
	Auths map[string]dockerAuth `json:"auths"`
}

type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// pullAuths collects what the pod's imagePullSecrets have for the image's registry, the longest match first.
func (k *Kubelet) pullAuths(ctx context.Context, pod *corev1.Pod, ref string) ([]pullCredential, error) {
	type match struct {
		cred pullCredential
		n    int
	}
	var found []match
	for _, r := range pod.Spec.ImagePullSecrets {
		s, err := k.objects.Secret(ctx, pod.Namespace, r.Name)
		if err != nil {
			if !apierrors.IsNotFound(err) && ctx.Err() != nil {
				return nil, err
			}
			k.events.pod(pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", r.Name)
			continue
		}
		for server, a := range parseDocker(s) {
			if n := matches(server, ref); n > 0 {
				found = append(found, match{newCredential(a.auth(), s), n})
			}
		}
	}
	host, path := splitRef(ref)
	given, err := k.cfg.Credentials.Get(ctx, host+"/"+path, func(pattern string) bool { return matches(pattern, ref) > 0 })
	if err != nil {
		k.cfg.Log.Warn("no credentials of a provider", "image", ref, "err", err) // what others gave may do
	}
	for _, c := range given {
		if n := matches(c.Pattern, ref); n > 0 {
			found = append(found, match{pullCredential{auth: image.Auth{Username: c.Username, Password: c.Password}}, n})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return b.n - a.n })
	var out []pullCredential
	for _, m := range found {
		out = append(out, m.cred)
	}
	return out, nil
}

// pullSecrets are the Secrets that a pod can show for an image.
func (k *Kubelet) pullSecrets(ctx context.Context, pod *corev1.Pod, ref string) ([]pullSecret, error) {
	creds, err := k.pullAuths(ctx, pod, ref)
	out := make([]pullSecret, 0, len(creds))
	for _, c := range creds {
		if c.secret.Hash != "" {
			out = append(out, c.secret)
		}
	}
	return out, err
}

func parseDocker(s *corev1.Secret) map[string]dockerAuth {
	if data, ok := s.Data[corev1.DockerConfigJsonKey]; ok {
		var c dockerConfig
		if json.Unmarshal(data, &c) == nil {
			return c.Auths
		}
	}
	if data, ok := s.Data[corev1.DockerConfigKey]; ok {
		var auths map[string]dockerAuth
		if json.Unmarshal(data, &auths) == nil {
			return auths
		}
	}
	return nil
}

func (a dockerAuth) auth() image.Auth {
	out := image.Auth{Username: a.Username, Password: a.Password, Token: a.RegistryToken}
	if a.Auth != "" {
		if b, err := base64.StdEncoding.DecodeString(a.Auth); err == nil {
			if u, p, ok := strings.Cut(string(b), ":"); ok {
				out.Username, out.Password = u, strings.TrimRight(p, "\x00")
			}
		}
	}
	return out
}

// matches says how specifically a server of a docker config names the image's repository; 0: not at all.
func matches(server, ref string) int {
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	server = strings.TrimSuffix(server, "/")
	host, path, _ := strings.Cut(server, "/")
	if path == "v1" || path == "v2" {
		path = ""
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	rhost, rpath := splitRef(ref)
	if !matchHost(host, rhost) || path != "" && rpath != path && !strings.HasPrefix(rpath, path+"/") {
		return 0
	}
	return 1 + len(path)
}

func matchHost(pattern, host string) bool {
	p, h := strings.Split(pattern, "."), strings.Split(host, ".")
	if len(p) != len(h) {
		return false
	}
	for i := range p {
		before, after, glob := strings.Cut(p[i], "*")
		if p[i] != h[i] && !(glob && strings.HasPrefix(h[i], before) && strings.HasSuffix(h[i], after)) {
			return false
		}
	}
	return true
}

// splitRef returns the registry and the repository of an image reference.
func splitRef(ref string) (host, path string) {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	first, rest, ok := strings.Cut(ref, "/")
	if ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return first, rest
	}
	if !ok {
		return "docker.io", "library/" + ref
	}
	return "docker.io", ref
}
