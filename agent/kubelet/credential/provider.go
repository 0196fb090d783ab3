package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	configv1 "k8s.io/kubelet/config/v1"
	providerv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

const (
	// runLimit is how long a program may take, as upstream's.
	runLimit = time.Minute
	// answerLimit is the size of an answer that is read, and complaintLimit of what it says on standard error, in bytes.
	answerLimit, complaintLimit = 1 << 20, 1 << 10
	// keep is how many answers of a provider are kept.
	keep = 1000
)

// Providers of credentials. The zero value and nil have none.
type Providers struct{ list []*provider }

type provider struct {
	config  *configv1.CredentialProvider
	program string
	flight  singleflight.Group

	mu   sync.Mutex
	kept map[string]answer
}

type answer struct {
	auth  map[string]providerv1.AuthConfig
	until time.Time
}

// Credential of the registries and paths that Pattern matches.
type Credential struct{ Pattern, Username, Password string }

// Get asks the providers that are for an image, e.g. registry.example.com/team/app. matches says whether a pattern of a provider is for it. An error
// of one provider does not keep the others' answers back.
func (p *Providers) Get(ctx context.Context, image string, matches func(pattern string) bool) (out []Credential, err error) {
	if p == nil {
		return nil, nil
	}
	var errs []error
	for _, one := range p.list {
		if !anyOf(one.config.MatchImages, matches) {
			continue
		}
		auth, err := one.get(ctx, image)
		if err != nil {
			errs = append(errs, fmt.Errorf("credential provider %s: %w", one.config.Name, err))
		}
		for pattern, a := range auth {
			out = append(out, Credential{pattern, a.Username, a.Password})
		}
	}
	return out, errors.Join(errs...)
}

func anyOf(list []string, matches func(string) bool) bool {
	for _, m := range list {
		if matches(m) {
			return true
		}
	}
	return false
}

// get from what is kept, or from the program; those who ask for the same image at once get one answer.
func (p *provider) get(ctx context.Context, image string) (map[string]providerv1.AuthConfig, error) {
	registry, _, _ := strings.Cut(image, "/")
	keys := []string{"image " + image, "registry " + registry, "global"}
	p.mu.Lock()
	for _, key := range keys {
		if a, ok := p.kept[key]; ok && time.Now().Before(a.until) {
			p.mu.Unlock()
			return a.auth, nil
		}
	}
	p.mu.Unlock()
	got, err, _ := p.flight.Do(image, func() (any, error) {
		r, err := p.run(ctx, image)
		if err != nil {
			return nil, err
		}
		key, err := keyOf(r.CacheKeyType, keys)
		if err != nil {
			return nil, err
		}
		p.put(key, r)
		return r.Auth, nil
	})
	if err != nil {
		return nil, err
	}
	return got.(map[string]providerv1.AuthConfig), nil
}

func keyOf(kind providerv1.PluginCacheKeyType, keys []string) (string, error) {
	switch kind {
	case providerv1.ImagePluginCacheKeyType:
		return keys[0], nil
	case providerv1.RegistryPluginCacheKeyType:
		return keys[1], nil
	case providerv1.GlobalPluginCacheKeyType:
		return keys[2], nil
	}
	return "", fmt.Errorf("its answer has the cacheKeyType %q", kind)
}

func (p *provider) put(key string, r *providerv1.CredentialProviderResponse) {
	d := p.config.DefaultCacheDuration.Duration
	if r.CacheDuration != nil {
		d = r.CacheDuration.Duration
	}
	if d <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for k, a := range p.kept {
		if now.After(a.until) || len(p.kept) >= keep {
			delete(p.kept, k)
		}
	}
	p.kept[key] = answer{r.Auth, now.Add(d)}
}

// run the program once.
func (p *provider) run(ctx context.Context, image string) (*providerv1.CredentialProviderResponse, error) {
	// Whoever asked first may go away; others may wait for the same answer.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), runLimit)
	defer cancel()
	request, err := json.Marshal(providerv1.CredentialProviderRequest{TypeMeta: metav1.TypeMeta{APIVersion: protocolVersion, Kind: "CredentialProviderRequest"}, Image: image})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, p.program, p.config.Args...)
	cmd.Env = os.Environ()
	for _, e := range p.config.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	out, complaint := &head{left: answerLimit}, &head{left: complaintLimit}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(request), out, complaint
	cmd.WaitDelay = time.Second // a child that keeps the pipes open does not hold us up
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", errors.Join(err, ctx.Err()), bytes.TrimSpace(complaint.data))
	}
	if out.left == 0 {
		return nil, fmt.Errorf("its answer is larger than %d bytes", answerLimit)
	}
	r := &providerv1.CredentialProviderResponse{}
	if err := json.Unmarshal(out.data, r); err != nil {
		return nil, fmt.Errorf("its answer: %w", err) // the answer is not shown: it holds secrets
	}
	if r.APIVersion != protocolVersion || r.Kind != "CredentialProviderResponse" {
		return nil, fmt.Errorf("its answer is %s %s, and has to be %s CredentialProviderResponse", r.APIVersion, r.Kind, protocolVersion)
	}
	return r, nil
}

// head keeps the beginning of what is written. It is no bytes.Buffer: io.Copy would fill that past Write.
type head struct {
	data []byte
	left int
}

func (h *head) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	h.data, h.left = append(h.data, p[:n]...), h.left-n
	return len(p), nil
}
