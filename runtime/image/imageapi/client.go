package imageapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"codeberg.org/skiff/skiff/runtime/image"
)

// API is what a command can do with images.
type API interface {
	Pull(ctx context.Context, ref string, opts image.PullOptions) (*image.Image, error)
	Import(ctx context.Context, r io.Reader) ([]*image.Image, error)
	List(ctx context.Context) ([]*image.Image, error)
	Remove(ctx context.Context, ref string) error
	// Close must be called in the end.
	Close() error
}

// Connect uses the daemon that listens on socket; if there is none, it opens the store. inUse is for that case only: which
// image IDs the containers on disk use.
func Connect(socket string, cfg image.Config, inUse func(id string) bool) (API, error) {
	conn, err := net.Dial("unix", socket)
	if err == nil {
		conn.Close()
		return dial(socket), nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("asking the running skiff: %w", err)
	}
	store, err := image.Open(cfg)
	if err != nil {
		return nil, err
	}
	return &direct{store, inUse}, nil
}

// direct is the store itself.
type direct struct {
	*image.Store
	inUse func(id string) bool
}

func (d *direct) List(context.Context) ([]*image.Image, error) { return d.Store.List(), nil }

func (d *direct) Remove(ctx context.Context, ref string) error {
	return d.Store.Remove(ctx, ref, d.inUse)
}

// client speaks to a daemon.
type client struct {
	http      *http.Client
	transport *http.Transport
}

func dial(socket string) *client {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	return &client{http: &http.Client{Transport: t}, transport: t}
}

func (c *client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

func (c *client) Pull(ctx context.Context, ref string, opts image.PullOptions) (img *image.Image, err error) {
	body, err := json.Marshal(pullRequest{ref, opts})
	if err != nil {
		return nil, err
	}
	err = c.call(ctx, http.MethodPost, "/v1/pull", bytes.NewReader(body), &img)
	return img, err
}

func (c *client) Import(ctx context.Context, r io.Reader) (images []*image.Image, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/import", io.NopCloser(r), &images)
	return images, err
}

func (c *client) List(ctx context.Context) (images []*image.Image, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/images", nil, &images)
	return images, err
}

func (c *client) Remove(ctx context.Context, ref string) error {
	return c.call(ctx, http.MethodDelete, "/v1/images?"+url.Values{"ref": {ref}}.Encode(), nil, &struct{}{})
}

func (c *client) call(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://skiff"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("asking the running skiff: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return json.NewDecoder(resp.Body).Decode(out)
	}
	var we wireError
	if err := json.NewDecoder(resp.Body).Decode(&we); err != nil {
		return fmt.Errorf("asking the running skiff: %s", resp.Status)
	}
	for _, k := range kinds {
		if we.Kind == k.name {
			return &remoteError{we.Message, k.err}
		}
	}
	return errors.New(we.Message)
}

// remoteError has the daemon's words and the identity of the error it had.
type remoteError struct {
	message string
	kind    error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.kind }
