package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/image/unpack"
)

// layerInfo is layer.json.
type layerInfo struct {
	Chain string `json:"chain"`
	Diff  string `json:"diff"`
	Size  int64  `json:"size"`
}

func (s *Store) hasLayer(chain string) bool {
	st, err := os.Lstat(s.layerFS(chain))
	return err == nil && st.IsDir()
}

func (s *Store) layerSize(chain string) int64 {
	var info layerInfo
	raw, err := os.ReadFile(filepath.Join(s.layerDir(chain), "layer.json"))
	if err != nil || json.Unmarshal(raw, &info) != nil {
		return 0
	}
	return info.Size
}

// fetch hands the compressed bytes of layer i of an image to use; use may be called again with a fresh stream after it
// failed. The stream verifies itself: it ends with io.EOF only if its digest was right.
type fetch func(ctx context.Context, i int, use func(io.Reader) error) error

// ensureLayers makes all layers of cfg be there. Layers are unpacked at the same time; each is finished when the one
// below it is, because it may need attributes from there.
//
// Lock order: the holder of a chain ID waits only for shorter chains, so nobody waits in a circle.
func (s *Store) ensureLayers(ctx context.Context, cfg *imageConfig, get fetch) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make([]*layerWork, len(cfg.chains))
	var wg sync.WaitGroup
	for i := range cfg.chains {
		work[i] = &layerWork{store: s, cfg: cfg, i: i, below: work[:i], ready: make(chan struct{})}
		wg.Go(func() {
			if err := work[i].run(ctx, get); err != nil {
				cancel(fmt.Errorf("layer %d (%s): %w", i+1, cfg.RootFS.DiffIDs[i], err))
			}
		})
	}
	wg.Wait()
	for _, w := range work {
		if w.held != nil {
			w.held.Close()
		}
	}
	return context.Cause(ctx)
}

// layerWork is one layer on its way into the store.
type layerWork struct {
	store *Store
	cfg   *imageConfig
	i     int
	below []*layerWork
	// ready is closed when dir holds the whole layer, or when that failed.
	ready chan struct{}
	dir   string // its file tree; "" if it failed
	// held keeps dir valid while the directory gets its final name.
	held *os.File
}

func (w *layerWork) run(ctx context.Context, get fetch) (err error) {
	chain := w.cfg.chains[w.i]
	closed := false
	finished := func() {
		if !closed {
			closed = true
			close(w.ready)
		}
	}
	defer finished()
	release, err := w.store.layerLocks.take(ctx, chain)
	if err != nil {
		return err
	}
	defer release()
	if w.store.hasLayer(chain) {
		w.dir = w.store.layerFS(chain)
		return nil
	}
	tmp, err := os.MkdirTemp(w.store.layerRoot(), ".tmp-")
	if err != nil {
		return explain(fmt.Errorf("making a directory for it: %w", err), w.store.cfg.Dir)
	}
	defer os.RemoveAll(tmp)
	res, err := w.unpack(ctx, tmp, get)
	if err != nil {
		return err
	}
	if err := w.complete(ctx, filepath.Join(tmp, "fs"), res); err != nil {
		return err
	}
	if w.held, err = os.Open(filepath.Join(tmp, "fs")); err != nil {
		return err
	}
	w.dir = fmt.Sprintf("/proc/self/fd/%d", w.held.Fd())
	finished()
	return w.commit(tmp, res)
}

// unpack fetches and unpacks the layer into tmp/fs.
func (w *layerWork) unpack(ctx context.Context, tmp string, get fetch) (res unpack.Result, err error) {
	dir := filepath.Join(tmp, "fs")
	err = get(ctx, w.i, func(r io.Reader) error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
		res, err = unpackStream(ctx, r, dir, w.cfg.RootFS.DiffIDs[w.i], w.store.cfg.Limits)
		return err
	})
	return res, explain(err, w.store.cfg.Dir)
}

// complete waits for the layers below and takes from them what this one only implied.
func (w *layerWork) complete(ctx context.Context, dir string, res unpack.Result) error {
	lower := make([]string, 0, w.i)
	for _, b := range w.below {
		select {
		case <-b.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if b.dir == "" {
			return errors.New("a layer below it failed")
		}
		lower = append(lower, b.dir)
	}
	if err := unpack.Complete(dir, lower, res); err != nil {
		return explain(asCorrupt(err), w.store.cfg.Dir)
	}
	return nil
}

// commit makes the layer durable and gives it its final name.
func (w *layerWork) commit(tmp string, res unpack.Result) error {
	chain := w.cfg.chains[w.i]
	info, err := json.Marshal(layerInfo{Chain: chain, Diff: w.cfg.RootFS.DiffIDs[w.i], Size: res.Size})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, "layer.json"), info, 0o600); err != nil {
		return explain(fmt.Errorf("writing layer.json: %w", err), w.store.cfg.Dir)
	}
	if err := w.store.syncer.sync(); err != nil {
		return explain(err, w.store.cfg.Dir)
	}
	if err := os.Rename(tmp, w.store.layerDir(chain)); err != nil {
		return fmt.Errorf("naming it: %w", err)
	}
	return nil
}

func asCorrupt(err error) error {
	if errors.Is(err, unpack.ErrInvalid) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// maxPadding is how much may follow a layer's end of archive.
const maxPadding = 1 << 30

// unpackStream decompresses and unpacks r into dir and verifies the digest of what was decompressed. Decompression and
// writing run side by side.
func unpackStream(ctx context.Context, r io.Reader, dir, diffID string, limits unpack.Limits) (unpack.Result, error) {
	src := &sticky{r: r, ctx: ctx}
	pre := prefetch(func(w func([]byte) bool) error { return decompress(src, w) })
	defer pre.Close()
	hash := sha256.New()
	tee := io.TeeReader(pre, hash)
	res, err := unpack.Layer(tee, dir, limits)
	if err == nil {
		var n int64
		if n, err = io.Copy(io.Discard, io.LimitReader(tee, maxPadding)); n == maxPadding {
			err = corrupt("more than %d bytes follow its end", maxPadding)
		}
	}
	pre.Close()
	switch {
	case src.err != nil:
		return res, src.err // what really happened, whatever the decompressor made of it
	case errors.Is(err, errCompression):
		return res, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case err != nil:
		return res, asCorrupt(err)
	}
	if got := "sha256:" + hex.EncodeToString(hash.Sum(nil)); got != diffID {
		return res, corrupt("its content has the digest %s, the image config says %s", got, diffID)
	}
	return res, nil
}

// sticky remembers the first real error of a source and ends it with the context.
type sticky struct {
	r   io.Reader
	ctx context.Context
	err error
}

func (s *sticky) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.ctx.Err() != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// isDiskFull also drops what a failed download left, to make room.
func isDiskFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}
