package openapi

import (
	"bytes"
	"io"
	"net/http"

	"github.com/klauspost/compress/gzip"

	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// document is kept compressed: a big one is megabytes, and seldom read.
type document struct {
	gz        []byte
	mediaType string
	etag      string
}

func pack(body []byte, mediaType, etag string) (document, bool, error) {
	gz, err := deflate(body)
	return document{gz: gz, mediaType: mediaType, etag: `"` + etag + `"`}, err == nil, err
}

// open hands the document out, compressed if the client reads that.
func (doc document) open(r *http.Request) (discovery.Document, bool, error) {
	out := discovery.Document{Body: doc.gz, MediaType: doc.mediaType, ETag: doc.etag, Gzip: true}
	if negotiate.Gzip(r) {
		return out, true, nil
	}
	out.Gzip = false
	var err error
	out.Body, err = inflate(doc.gz)
	return out, err == nil, err
}

func deflate(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, 3)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(b.Bytes()), nil
}

func inflate(gz []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
