package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxAttempts of a download that makes no progress.
const maxAttempts = 5

// download streams a blob: first what an earlier attempt left in the ingest directory, then the rest from the registry,
// which is written there as it passes. A cut connection is taken up again by range, without its reader noticing.
type download struct {
	ctx    context.Context
	reg    *registry
	digest string
	size   int64

	file    *os.File
	off     int64 // bytes delivered
	stored  int64 // bytes in file
	resumed bool  // file held something at the start

	body     io.ReadCloser
	stall    *time.Timer
	cancel   context.CancelFunc
	attempts int
}

func (s *Store) ingestPath(digest string) string { return filepath.Join(s.ingestDir(), hexOf(digest)) }

// openDownload takes up the blob where the last attempt left it. One at a time for each digest.
func (s *Store) openDownload(ctx context.Context, reg *registry, digest string, size int64) (*download, error) {
	f, err := os.OpenFile(s.ingestPath(digest), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, explain(err, s.cfg.Dir)
	}
	st, err := f.Stat()
	if err == nil && st.Size() > size {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	d := &download{ctx: ctx, reg: reg, digest: digest, size: size, file: f}
	if st.Size() <= size {
		d.stored = st.Size()
	}
	d.resumed = d.stored > 0
	return d, nil
}

func (d *download) Close() error {
	d.hangUp()
	return d.file.Close()
}

func (d *download) hangUp() {
	if d.body != nil {
		d.stall.Stop()
		d.cancel()
		d.body.Close()
		d.body = nil
	}
}

func (d *download) Read(p []byte) (int, error) {
	if d.off < d.stored {
		n, err := d.file.ReadAt(p[:min(int64(len(p)), d.stored-d.off)], d.off)
		d.off += int64(n)
		if n > 0 {
			return n, nil
		}
		return 0, fmt.Errorf("reading a partial download: %w", err)
	}
	for d.off < d.size {
		n, err := d.receive(p)
		if n > 0 {
			d.attempts = 0
			if _, werr := d.file.WriteAt(p[:n], d.off); werr != nil {
				return 0, fmt.Errorf("storing the download: %w", werr)
			}
			d.off += int64(n)
			d.stored = d.off
			return n, nil
		}
		if err := d.retry(err); err != nil {
			return 0, err
		}
	}
	return 0, io.EOF
}

// receive reads from the connection, making it if there is none.
func (d *download) receive(p []byte) (int, error) {
	if d.body == nil {
		if err := d.connect(); err != nil {
			return 0, err
		}
	}
	d.stall.Reset(stallTimeout)
	n, err := d.body.Read(p[:min(int64(len(p)), d.size-d.off)])
	if n == 0 && err == nil {
		return 0, io.ErrNoProgress
	}
	if n > 0 && err != nil {
		d.hangUp() // the rest, or the error, comes with the next read
	}
	return n, err
}

func (d *download) connect() error {
	ctx, cancel := context.WithCancel(d.ctx)
	header := http.Header{}
	if d.off > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.off))
	}
	resp, err := d.reg.get(ctx, "blobs/"+d.digest, header)
	if err != nil {
		cancel()
		return err
	}
	if err := d.position(resp); err != nil {
		cancel()
		resp.Body.Close()
		return err
	}
	d.body, d.cancel = resp.Body, cancel
	d.stall = time.AfterFunc(stallTimeout, cancel)
	return nil
}

// position brings the body to d.off: the registry may have ignored the range.
func (d *download) position(resp *http.Response) error {
	switch {
	case d.off == 0 && resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode == http.StatusOK:
		if _, err := io.CopyN(io.Discard, resp.Body, d.off); err != nil {
			return d.reg.explain(d.ctx, err)
		}
		return nil
	case resp.StatusCode == http.StatusPartialContent:
		if r := resp.Header.Get("Content-Range"); strings.HasPrefix(r, fmt.Sprintf("bytes %d-", d.off)) {
			return nil
		}
	}
	return corrupt("registry %s cannot deliver blob %s from byte %d", d.reg.host, d.digest, d.off)
}

// retry waits before the next attempt, or says why there is none.
func (d *download) retry(err error) error {
	d.hangUp()
	for _, final := range []error{ErrNotFound, ErrUnauthorized, ErrCorrupt} {
		if errors.Is(err, final) {
			return err
		}
	}
	if d.attempts++; d.attempts >= maxAttempts {
		return fmt.Errorf("downloading blob %s: %w", d.digest, d.reg.explain(d.ctx, err))
	}
	select {
	case <-time.After(50 * time.Millisecond << d.attempts):
		return nil
	case <-d.ctx.Done():
		return context.Cause(d.ctx)
	}
}
