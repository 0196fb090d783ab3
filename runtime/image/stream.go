package image

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// errCompression marks errors of gzip and zstd.
var errCompression = errors.New("decompressing")

// maxWindow is what the zstd tool itself takes without being asked to.
const maxWindow = 128 << 20

// decompressor wraps r by what its first bytes say: gzip, zstd, or nothing. Media types are not trusted: registries and
// archives get them wrong.
func decompressor(r io.Reader) (io.Reader, func(), error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errCompression, err)
		}
		return z, func() { z.Close() }, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) || (len(head) == 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18})):
		z, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errCompression, err)
		}
		return z, z.Close, nil
	}
	return br, func() {}, nil
}

// decompress gives the decompressed bytes of r to emit, block by block, then reads r to its end so that it can verify
// itself. It stops early when emit returns false.
func decompress(r io.Reader, emit func([]byte) bool) error {
	d, done, err := decompressor(r)
	if err != nil {
		return err
	}
	defer done()
	for {
		buf := blocks.Get().(*[prefetchBlock]byte)
		n, err := io.ReadFull(d, buf[:])
		if n > 0 && !emit(buf[:n]) {
			return nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF && n > 0 && endOfStream(d) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errCompression, err)
		}
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// endOfStream tells io.ReadFull's own "short block" from a truncated stream: reading again says which.
func endOfStream(r io.Reader) bool {
	var b [1]byte
	n, err := r.Read(b[:])
	return n == 0 && err == io.EOF
}

const prefetchBlock = 256 << 10

// blocks are reused between layers; the garbage collector takes them back when nothing is pulled.
var blocks = sync.Pool{New: func() any { return new([prefetchBlock]byte) }}

// prefetched reads ahead of its reader in a goroutine of its own, which has ended when Close returns.
type prefetched struct {
	full  chan []byte
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
	err   error // valid when full is closed
	cur   []byte
	whole []byte
}

// prefetch runs produce, which hands on blocks until it is told to stop.
func prefetch(produce func(emit func([]byte) bool) error) *prefetched {
	p := &prefetched{full: make(chan []byte, 4), stop: make(chan struct{})}
	p.wg.Go(func() {
		defer close(p.full)
		p.err = produce(func(b []byte) bool {
			select {
			case p.full <- b:
				return true
			case <-p.stop:
				return false
			}
		})
	})
	return p
}

func (p *prefetched) Read(out []byte) (int, error) {
	for len(p.cur) == 0 {
		if p.whole != nil {
			blocks.Put((*[prefetchBlock]byte)(p.whole[:prefetchBlock]))
			p.whole = nil
		}
		b, ok := <-p.full
		if !ok {
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.cur, p.whole = b, b
	}
	n := copy(out, p.cur)
	p.cur = p.cur[n:]
	return n, nil
}

// Close waits for the goroutine; its source must return.
func (p *prefetched) Close() error {
	p.once.Do(func() { close(p.stop) })
	p.wg.Wait()
	return nil
}

// verifier ends with io.EOF only if what was read has the digest and the size; size -1 is not checked.
type verifier struct {
	r    io.Reader
	hash hash.Hash
	want string
	size int64
	n    int64
}

func verify(r io.Reader, digest string, size int64) *verifier {
	return &verifier{r: r, hash: sha256.New(), want: digest, size: size}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	if v.size >= 0 && v.n > v.size {
		return n, corrupt("blob %s is longer than the %d bytes its descriptor says", v.want, v.size)
	}
	if err == io.EOF {
		if v.size >= 0 && v.n < v.size {
			return n, corrupt("blob %s ends after %d of %d bytes", v.want, v.n, v.size)
		}
		if got := "sha256:" + hex.EncodeToString(v.hash.Sum(nil)); got != v.want {
			return n, corrupt("blob %s has the digest %s", v.want, got)
		}
	}
	return n, err
}
