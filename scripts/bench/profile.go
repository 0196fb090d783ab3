package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profileEvery is how long one CPU profile of the daemon is; the figures are measured with it running then.
const profileEvery = 5 * time.Second

func (b *bench) debugSocket() string { return filepath.Join(b.node.Dir(), "debug.sock") }

// profile keeps CPU profiles of the daemon, one after the other, and a heap profile with each, until stop is called.
func (b *bench) profile(ctx context.Context, dir, section string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			if b.fetchProfile(ctx, fmt.Sprintf("profile?seconds=%d", int(profileEvery.Seconds())), filepath.Join(dir, fmt.Sprintf("%s-%03d.cpu", section, i))) != nil {
				pause(ctx, 100*time.Millisecond)
				i--
				continue
			}
			_ = b.fetchProfile(ctx, "heap", filepath.Join(dir, fmt.Sprintf("%s-%03d.heap", section, i)))
		}
	}()
	return func() { cancel(); <-done }
}

func (b *bench) fetchProfile(ctx context.Context, what, file string) error {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", b.debugSocket())
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://skiff/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %w", what, resp.Status, err)
	}
	return os.WriteFile(file, data, 0o644)
}
