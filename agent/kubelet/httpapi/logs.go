package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// logs streams a container's log.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	opts, err := logOptions(q, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	pod := s.pod(w, r)
	if pod == nil {
		return
	}
	previous, _ := strconv.ParseBool(q.Get("previous"))
	path, ended, err := s.cfg.Node.LogPath(pod, r.PathValue("container"), previous)
	if err != nil {
		fail(w, err)
		return
	}
	opts.Ended = ended
	if ended == nil || previous {
		opts.Follow = false
	}
	w.Header().Set("Content-Type", "text/plain")
	out := &flusher{w: w, now: opts.Follow}
	if opts.Follow {
		w.WriteHeader(http.StatusOK)
		out.flush()
	}
	if err := s.cfg.ReadLogs(r.Context(), out, path, opts); err != nil && r.Context().Err() == nil {
		if !out.wrote && !opts.Follow {
			fail(w, err)
			return
		}
		s.cfg.Log.Warn("reading a log ended early", "path", path, "err", err)
	}
}

// flusher sends each line at once when someone follows.
type flusher struct {
	w          http.ResponseWriter
	now, wrote bool
}

func (f *flusher) Write(p []byte) (int, error) {
	f.wrote = true
	n, err := f.w.Write(p)
	if f.now {
		f.flush()
	}
	return n, err
}

func (f *flusher) flush() { http.NewResponseController(f.w).Flush() }

func logOptions(q url.Values, now time.Time) (o LogOptions, err error) {
	flag := func(name string) bool { b, _ := strconv.ParseBool(q.Get(name)); return b }
	number := func(name string, least int64) *int64 {
		s := q.Get(name)
		if s == "" || err != nil {
			return nil
		}
		n, e := strconv.ParseInt(s, 10, 64)
		if e != nil || n < least {
			err = fmt.Errorf("invalid %s %q: must be a number of at least %d", name, s, least)
			return nil
		}
		return &n
	}
	o.Follow, o.Timestamps = flag("follow"), flag("timestamps")
	if q.Get("tailLines") != "all" {
		o.Tail = number("tailLines", 0)
	}
	o.LimitBytes = number("limitBytes", 1)
	if s := number("sinceSeconds", 1); s != nil {
		o.Since = now.Add(-time.Duration(*s) * time.Second)
	}
	if t := q.Get("sinceTime"); t != "" && err == nil {
		if o.Since, err = time.Parse(time.RFC3339, t); err != nil {
			err = fmt.Errorf("invalid sinceTime %q: %w", t, err)
		}
	}
	switch stream := q.Get("stream"); stream {
	case "", "All":
	case "Stdout":
		o.Stream = "stdout"
	case "Stderr":
		o.Stream = "stderr"
	default:
		err = fmt.Errorf("invalid stream %q: supported values: All, Stdout, Stderr", stream)
	}
	return o, err
}
