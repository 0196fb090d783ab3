// Package profile serves the Go runtime's own profiles (net/http/pprof) to whoever debugs a running skiff, on a unix socket that only
// root can open. It must never listen on a network: a profile tells more than an API server should. Nothing runs unless it is asked for.
//
//	curl --unix-socket /run/skiff/debug.sock http://skiff/debug/pprof/heap >heap && go tool pprof -top bin/skiff heap
package profile

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
)

// Serve serves /debug/pprof/ on the unix socket path until ctx ends. With an empty path it returns at once.
func Serve(ctx context.Context, path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("debug socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("debug socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("debug socket: %w", err), l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("debug socket: %w", err)
	}
	return nil
}
