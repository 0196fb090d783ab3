package encrypt

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/store/encrypt/kms"
)

// Transformer seals and opens values by the rules of one configuration. Immutable.
type Transformer struct {
	rules []rule
	// plugins among the providers.
	plugins []*kms.Provider
}

// rule is one element of the configuration's resources.
type rule struct {
	resources []schema.GroupResource
	// providers in order; the first seals.
	providers []provider
}

// provider is one key, or identity when box is nil.
type provider struct {
	prefix string
	box    box
}

// identity leaves values as they are.
var identity = provider{}

// Plain encrypts nothing, and opens nothing that is encrypted.
var Plain = &Transformer{}

// rule for a resource; nil if it is not to be encrypted.
func (t *Transformer) rule(gr schema.GroupResource) *rule {
	for i := range t.rules {
		for _, r := range t.rules[i].resources {
			if r == gr || r.Resource == "*" && (r.Group == "*" || r.Group == gr.Group) {
				return &t.rules[i]
			}
		}
	}
	return nil
}

// Covers says whether the resource has a rule.
func (t *Transformer) Covers(gr schema.GroupResource) bool { return t.rule(gr) != nil }

// Seal returns what is to be stored under an etcd key. The result may be plain itself.
func (t *Transformer) Seal(gr schema.GroupResource, key string, plain []byte) ([]byte, error) {
	r := t.rule(gr)
	if r == nil || r.providers[0].box == nil {
		if bytes.HasPrefix(plain, []byte(magic)) {
			return nil, fmt.Errorf("a value that begins with %q cannot be stored unencrypted", magic)
		}
		return plain, nil
	}
	p := &r.providers[0]
	out := make([]byte, 0, len(p.prefix)+len(plain)+48)
	return p.box.seal(append(out, p.prefix...), plain, []byte(key))
}

// Open returns the plain value that is stored under an etcd key.
func (t *Transformer) Open(gr schema.GroupResource, key string, stored []byte) ([]byte, error) {
	encrypted := bytes.HasPrefix(stored, []byte(magic))
	if !encrypted {
		return stored, nil
	}
	var problems []error
	try := func(providers []provider) ([]byte, bool) {
		for i := range providers {
			p := &providers[i]
			if p.box == nil || !bytes.HasPrefix(stored, []byte(p.prefix)) {
				continue
			}
			plain, err := p.box.open(stored[len(p.prefix):], []byte(key))
			if err == nil {
				return plain, true
			}
			problems = append(problems, err)
		}
		return nil, false
	}
	if r := t.rule(gr); r != nil {
		if plain, ok := try(r.providers); ok {
			return plain, nil
		}
	} else { // a resource that is not encrypted any more
		for i := range t.rules {
			if plain, ok := try(t.rules[i].providers); ok {
				return plain, nil
			}
		}
	}
	if len(problems) == 0 {
		return nil, fmt.Errorf("no matching key found for %s", headerOf(stored))
	}
	return nil, errors.Join(problems...)
}

// Stale says whether a stored value has another form than Seal gives it now.
func (t *Transformer) Stale(gr schema.GroupResource, stored []byte) bool {
	r := t.rule(gr)
	if r == nil || r.providers[0].box == nil {
		return bytes.HasPrefix(stored, []byte(magic))
	}
	p := &r.providers[0]
	if !bytes.HasPrefix(stored, []byte(p.prefix)) {
		return true
	}
	// A plugin has more keys than one below the same prefix.
	b, ok := p.box.(interface{ stale(sealed []byte) bool })
	return ok && b.stale(stored[len(p.prefix):])
}

// headerOf names provider and key of a stored value, for people. It is bounded and printable, whatever is stored.
func headerOf(stored []byte) string {
	if !bytes.HasPrefix(stored, []byte(magic)) {
		return "unencrypted"
	}
	parts := strings.SplitN(string(stored[len(magic):min(len(stored), 200)]), ":", 4)
	if len(parts) < 4 {
		return "unknown"
	}
	if len(parts[2]) > 64 || !printable(parts[0]+parts[1]+parts[2]) {
		return "unknown"
	}
	return parts[0] + " " + parts[2]
}

func printable(s string) bool {
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			return false
		}
	}
	return true
}

// Live is a Transformer that can be replaced while it is in use.
type Live struct{ current atomic.Pointer[Transformer] }

// NewLive begins with t.
func NewLive(t *Transformer) *Live {
	l := &Live{}
	l.current.Store(t)
	return l
}

// Set replaces the transformer for all that is sealed and opened from now on.
func (l *Live) Set(t *Transformer) { l.current.Store(t) }

// Current is the transformer in force.
func (l *Live) Current() *Transformer { return l.current.Load() }

// Covers says whether the resource has a rule.
func (l *Live) Covers(gr schema.GroupResource) bool { return l.Current().Covers(gr) }

// Seal returns what is to be stored.
func (l *Live) Seal(gr schema.GroupResource, key string, plain []byte) ([]byte, error) {
	return l.Current().Seal(gr, key, plain)
}

// Open returns what was sealed.
func (l *Live) Open(gr schema.GroupResource, key string, stored []byte) ([]byte, error) {
	return l.Current().Open(gr, key, stored)
}

// Stale says whether a stored value has another form than Seal gives it now.
func (l *Live) Stale(gr schema.GroupResource, stored []byte) bool {
	return l.Current().Stale(gr, stored)
}

// Header names provider and key of a stored value.
func (l *Live) Header(stored []byte) string { return headerOf(stored) }
