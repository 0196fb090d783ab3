package openapi

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// Documents of a catalogue.
type Documents struct {
	catalogue *api.Catalogue
	version   string
	build     string

	mu    sync.Mutex
	kinds []*api.Kind
	cache map[string]document
}

// document is kept compressed: a big one is a megabyte, and seldom read.
type document struct {
	gz        []byte
	mediaType string
	etag      string
}

// New makes nothing yet. version is the server's.
func New(c *api.Catalogue, version string) *Documents {
	d := &Documents{catalogue: c, version: version, build: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.time" {
				d.build += " " + s.Value
			}
		}
	}
	return d
}

const (
	// The type asked for has an @, which Go's mime package refuses; the one answered has a dot, as upstream's.
	protobufV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	jsonType   = "application/json"
)

// Get returns the document at /openapi/v2, /openapi/v3 or /openapi/v3/(api|apis/group)/version.
func (d *Documents) Get(path string, r *http.Request) (discovery.Document, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if kinds := d.catalogue.Kinds(); !slices.Equal(kinds, d.kinds) {
		d.kinds, d.cache = kinds, map[string]document{}
	}
	key := path
	if path == "/openapi/v2" && wantsProtobuf(r) {
		key += " protobuf"
	}
	doc, ok := d.cache[key]
	if !ok {
		body, mediaType, etag, err := d.make(key)
		if err != nil || body == nil {
			return discovery.Document{}, false, err
		}
		if doc, err = compress(body, mediaType, etag); err != nil {
			return discovery.Document{}, false, err
		}
		d.cache[key] = doc
	}
	return doc.open(r)
}

func wantsProtobuf(r *http.Request) bool {
	for _, c := range negotiate.Accept(r) {
		full := c.Type + "/" + c.Sub
		switch {
		case strings.HasPrefix(full, "application/com.github.proto-openapi.spec.v2"):
			return true
		case c.Is(jsonType):
			return false
		}
	}
	return false
}

func (d *Documents) make(key string) (body []byte, mediaType, etag string, err error) {
	switch key {
	case "/openapi/v3":
		body, err = json.Marshal(d.index())
		return body, jsonType, "", err
	case "/openapi/v2":
		body, err = json.Marshal(d.v2())
		return body, jsonType, hash(body), err
	case "/openapi/v2 protobuf":
		body, err = d.v2Protobuf()
		return body, protobufV2, hash(body), err
	}
	gv, ok := groupVersionOf(strings.TrimPrefix(key, "/openapi/v3/"))
	if !ok {
		return nil, "", "", nil
	}
	doc := d.v3(gv)
	if doc == nil {
		return nil, "", "", nil
	}
	body, err = json.Marshal(doc)
	return body, jsonType, d.hashOf(gv), err
}

func groupVersionOf(path string) (gv schema.GroupVersion, ok bool) {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, true
	case len(parts) == 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, true
	}
	return gv, false
}

func pathOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}

// index lists the documents. Its hashes change when a document does, and are known without making it.
func (d *Documents) index() map[string]any {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for _, gv := range groupVersions(d.kinds) {
		paths[pathOf(gv)] = entry{"/openapi/v3/" + pathOf(gv) + "?hash=" + d.hashOf(gv)}
	}
	return map[string]any{"paths": paths}
}

func groupVersions(kinds []*api.Kind) (out []schema.GroupVersion) {
	for _, k := range kinds {
		for _, v := range k.Versions {
			if gv := (schema.GroupVersion{Group: v.Group, Version: v.Version}); !slices.Contains(out, gv) {
				out = append(out, gv)
			}
		}
	}
	return out
}

// hashOf names the content of a group version's document: the program that makes it, and the kinds that it is made of.
func (d *Documents) hashOf(gv schema.GroupVersion) string {
	var b strings.Builder
	fmt.Fprintln(&b, d.build, gv)
	for _, k := range d.kinds {
		for _, v := range k.Versions {
			if v.Group == gv.Group && v.Version == gv.Version {
				fmt.Fprintf(&b, "%s %s %v %v %v %p\n", k.Kind, k.Plural, k.Namespaced, k.Verbs, len(k.Subresources), customOf(k))
			}
		}
	}
	return hash([]byte(b.String()))
}

// customOf is the kind itself when it is a custom one, whose schema may be another each time it is added.
func customOf(k *api.Kind) *api.Kind {
	if isCustom(k) {
		return k
	}
	return nil
}

func hash(data []byte) string {
	sum := sha512.Sum512(data)
	return fmt.Sprintf("%X", sum[:32])
}

func (d *Documents) v2Protobuf() ([]byte, error) {
	text, err := json.Marshal(d.v2())
	if err != nil {
		return nil, err
	}
	doc, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("openapi v2 as protobuf: %w", err)
	}
	return proto.Marshal(doc)
}

func compress(body []byte, mediaType, etag string) (document, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.DefaultCompression)
	if err != nil {
		return document{}, err
	}
	if _, err := w.Write(body); err != nil {
		return document{}, err
	}
	if err := w.Close(); err != nil {
		return document{}, err
	}
	if etag != "" {
		etag = `"` + etag + `"`
	}
	return document{gz: bytes.Clone(b.Bytes()), mediaType: mediaType, etag: etag}, nil
}

// open hands the document out, compressed if the client reads that.
func (doc document) open(r *http.Request) (discovery.Document, bool, error) {
	out := discovery.Document{Body: doc.gz, MediaType: doc.mediaType, ETag: doc.etag, Gzip: true}
	if negotiate.Gzip(r) {
		return out, true, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(doc.gz))
	if err != nil {
		return out, false, err
	}
	out.Gzip = false
	out.Body, err = io.ReadAll(z)
	return out, err == nil, err
}
