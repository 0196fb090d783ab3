package objects

import (
	"encoding/json"
	"os"
	"path/filepath"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func (c *Cache) path(r Ref) string {
	name := r.Name
	if r == allTrustBundles {
		name = "all"
	}
	return filepath.Join(c.cfg.Dir, r.Kind, r.Namespace, name+".json")
}

// save keeps the object for a boot without a server. Best effort: it is a cache.
func (c *Cache) save(r Ref, obj runtime.Object) {
	if c.cfg.Dir == "" {
		return
	}
	if obj == nil {
		c.forget(r)
		return
	}
	if err := writeJSON(c.path(r), obj); err != nil {
		c.cfg.Log.Warn("cannot keep a copy of an object", "kind", r.Kind, "namespace", r.Namespace, "name", r.Name, "err", err)
	}
}

func (c *Cache) forget(r Ref) {
	if c.cfg.Dir != "" && c.ctx.Err() == nil {
		os.Remove(c.path(r))
	}
}

func (c *Cache) load(r Ref) runtime.Object {
	if c.cfg.Dir == "" {
		return nil
	}
	var obj runtime.Object = &corev1.ConfigMap{}
	switch r.Kind {
	case KindSecret:
		obj = &corev1.Secret{}
	case KindTrustBundles:
		obj = &certificatesv1.ClusterTrustBundleList{}
	}
	if readJSON(c.path(r), obj) != nil {
		return nil
	}
	return obj
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}
