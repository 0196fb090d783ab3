package imageapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"codeberg.org/skiff/skiff/runtime/image"
)

// Handler serves the store. inUse says which image IDs containers use; it may be nil.
func Handler(store *image.Store, inUse func(id string) bool) http.Handler {
	h := &handler{store: store, inUse: inUse}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/images", h.list)
	mux.HandleFunc("POST /v1/pull", h.pull)
	mux.HandleFunc("POST /v1/import", h.importArchive)
	mux.HandleFunc("DELETE /v1/images", h.remove)
	return mux
}

// Serve listens on the unix socket until ctx ends. A socket that a crash left behind is replaced.
func Serve(ctx context.Context, socket string, h http.Handler) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("serving images: %w", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("serving images: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("serving images: %w", err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serving images: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if srv.Shutdown(grace) != nil {
		srv.Close()
	}
	<-done
	return nil
}

type handler struct {
	store *image.Store
	inUse func(id string) bool
}

type pullRequest struct {
	Ref     string
	Options image.PullOptions
}

func (h *handler) list(w http.ResponseWriter, _ *http.Request) { reply(w, h.store.List(), nil) }

func (h *handler) pull(w http.ResponseWriter, r *http.Request) {
	var p pullRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&p); err != nil {
		reply(w, nil, fmt.Errorf("reading the request: %w", err))
		return
	}
	img, err := h.store.Pull(r.Context(), p.Ref, p.Options)
	reply(w, img, err)
}

func (h *handler) importArchive(w http.ResponseWriter, r *http.Request) {
	images, err := h.store.Import(r.Context(), r.Body)
	reply(w, images, err)
}

func (h *handler) remove(w http.ResponseWriter, r *http.Request) {
	reply(w, struct{}{}, h.store.Remove(r.Context(), r.FormValue("ref"), h.inUse))
}

// wireError is how an error travels.
type wireError struct {
	Message string `json:"message"`
	Kind    string `json:"kind,omitempty"`
}

// kinds are the errors that keep their identity on the way, each with its HTTP status.
var kinds = []struct {
	name   string
	err    error
	status int
}{
	{"NotFound", image.ErrNotFound, http.StatusNotFound},
	{"Unauthorized", image.ErrUnauthorized, http.StatusForbidden},
	{"Corrupt", image.ErrCorrupt, http.StatusUnprocessableEntity},
	{"InUse", image.ErrInUse, http.StatusConflict},
	{"Unreachable", image.ErrUnreachable, http.StatusBadGateway},
	{"BadReference", image.ErrBadReference, http.StatusBadRequest},
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		json.NewEncoder(w).Encode(v)
		return
	}
	out, status := wireError{Message: err.Error()}, http.StatusInternalServerError
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			out.Kind, status = k.name, k.status
			break
		}
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(out)
}
