package kubelet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/runtime/image"
)

// An image that was pulled with a Secret is here for all pods of the node, and not all may use it. So it is recorded how an image came,
// and a pod that uses it without a pull shows that it could have pulled it: upstream's KubeletEnsureSecretPulledImages, with the policy
// NeverVerifyPreloadedImages. What this node has not pulled (imported, pulled by hand) is free for all.
//
//	<Data>/agent/pulled/<hash>.json          who may use an image, by repository
//	<Data>/agent/pulled/intent-<hash>        a reference is being pulled: without it, a crash before the record would make an image free

// pullRecord says who may use an image.
type pullRecord struct {
	Image string `json:"image"`
	// Repositories by their name without tag and digest.
	Repositories map[string]pullAccess `json:"repositories"`
}

// pullAccess: everyone, or who has one of these Secrets.
type pullAccess struct {
	Everyone bool         `json:"everyone,omitempty"`
	Secrets  []pullSecret `json:"secrets,omitempty"`
}

// pullSecret is a Secret's entry for a registry. Hash is of its content, so a copy in another namespace is as good.
type pullSecret struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Hash      string `json:"hash"`
}

// pullCredential is what to pull with, and the Secret that it is from; none for a credential that all pods of the node have.
type pullCredential struct {
	auth   image.Auth
	secret pullSecret
}

func newCredential(a image.Auth, s *corev1.Secret) pullCredential {
	raw, _ := json.Marshal(a) // strings only: it cannot fail
	sum := sha256.Sum256(raw)
	return pullCredential{a, pullSecret{UID: string(s.UID), Namespace: s.Namespace, Name: s.Name, Hash: hex.EncodeToString(sum[:])}}
}

// knows says whether a pod that shows have may use what these Secrets gave: the same content, or the same Secret with a newer one.
func (a pullAccess) knows(have []pullSecret) bool {
	return a.Everyone || slices.ContainsFunc(have, func(h pullSecret) bool {
		return slices.ContainsFunc(a.Secrets, func(s pullSecret) bool {
			return s.Hash == h.Hash || s.UID == h.UID && s.Namespace == h.Namespace && s.Name == h.Name
		})
	})
}

// maxSecrets of a record; the oldest are forgotten, and ask their registry again.
const maxSecrets = 100

func (a pullAccess) with(more pullAccess) pullAccess {
	if a.Everyone || more.Everyone {
		return pullAccess{Everyone: true}
	}
	for _, s := range more.Secrets {
		a.Secrets = append(slices.DeleteFunc(slices.Clone(a.Secrets), func(o pullSecret) bool { return o.UID == s.UID && o.Name == s.Name }), s)
	}
	if n := len(a.Secrets); n > maxSecrets {
		a.Secrets = a.Secrets[n-maxSecrets:]
	}
	return a
}

// pullRecords are the files. Safe for concurrent use.
type pullRecords struct {
	dir   string
	mu    sync.Mutex
	under map[string]int // pulls of a reference that are under way
}

func newPullRecords(dir string) *pullRecords { return &pullRecords{dir: dir, under: map[string]int{}} }

func (r *pullRecords) path(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(r.dir, hex.EncodeToString(sum[:16])+".json")
}

func (r *pullRecords) intent(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return filepath.Join(r.dir, "intent-"+hex.EncodeToString(sum[:16]))
}

func repository(ref string) string {
	host, path := splitRef(ref)
	return host + "/" + path
}

// mayUse says whether a pod may use an image that is here without asking its registry. secrets are looked up when they matter.
func (r *pullRecords) mayUse(id, ref string, secrets func() ([]pullSecret, error)) (bool, error) {
	r.mu.Lock()
	rec, err := r.read(id)
	_, intent := os.Lstat(r.intent(ref))
	r.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.Is(intent, fs.ErrNotExist), nil
	case err != nil:
		return false, nil // damaged: its registry knows
	}
	access := rec.Repositories[repository(ref)]
	if access.Everyone {
		return true, nil
	}
	if len(access.Secrets) == 0 {
		return false, nil
	}
	have, err := secrets()
	if err != nil {
		return false, err
	}
	return access.knows(have), nil
}

func (r *pullRecords) read(id string) (rec pullRecord, err error) {
	raw, err := os.ReadFile(r.path(id))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(raw, &rec); err != nil || rec.Image != id {
		return rec, fmt.Errorf("the record of image %s is damaged: %w", id, err)
	}
	return rec, nil
}

// begin notes that a reference is about to be pulled.
func (r *pullRecords) begin(ref string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return fmt.Errorf("record a pull: %w", err)
	}
	if err := durable(r.intent(ref), []byte(ref)); err != nil {
		return fmt.Errorf("record a pull: %w", err)
	}
	r.under[ref]++
	return nil
}

// end notes how a pull went: id is the image's, "" when it failed.
func (r *pullRecords) end(ref, id string, access pullAccess) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id != "" {
		rec, err := r.read(id)
		if err != nil {
			rec = pullRecord{Image: id, Repositories: map[string]pullAccess{}}
		}
		repo := repository(ref)
		rec.Repositories[repo] = rec.Repositories[repo].with(access)
		raw, err := json.Marshal(rec)
		if err == nil {
			err = durable(r.path(id), raw)
		}
		if err != nil {
			r.under[ref]-- // the intent stays, so nobody takes it for a preloaded one
			return fmt.Errorf("record the pull of image %s: %w", id, err)
		}
	}
	if r.under[ref]--; r.under[ref] <= 0 {
		delete(r.under, ref)
		_ = os.Remove(r.intent(ref))
	}
	return nil
}

// prune forgets images that are not here: one that is imported later is free for all.
func (r *pullRecords) prune(here func(id string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entries, _ := os.ReadDir(r.dir)
	for _, e := range entries {
		var rec pullRecord
		path := filepath.Join(r.dir, e.Name())
		if raw, err := os.ReadFile(path); filepath.Ext(path) != ".json" || err != nil || json.Unmarshal(raw, &rec) != nil {
			continue
		}
		if !here(rec.Image) && len(r.under) == 0 {
			_ = os.Remove(path)
		}
	}
}

// durable replaces a file so that a power cut leaves the old content or the new one.
func durable(path string, data []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, path)
}
