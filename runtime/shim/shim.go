// Package shim carries the shim, a small executable of nothing but package reexec, inside the large one. Keepers, creators, executors
// and libcontainer's init are started from it: it has a fifth of the pages to touch and of the packages to initialise.
// `make` builds it into built/; a program that was built without one is its own shim.
package shim

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// all: takes in a file that begins with a dot, so that there is one.
//
//go:embed all:built
var built embed.FS

// self is this program, which can do what the shim does.
const self = "/proc/self/exe"

// Install writes the shim into dir, unless it is there, and removes other versions of it. It returns the path of the executable to
// start: with an error, this program's own.
func Install(dir string) (string, error) {
	f, err := built.Open("built/skiff-shim.zst")
	if errors.Is(err, fs.ErrNotExist) {
		return self, nil
	}
	if err != nil {
		return self, err
	}
	defer f.Close()
	path, err := install(f.(io.ReadSeeker), dir) // as package embed promises
	if err != nil {
		return self, fmt.Errorf("install the shim: %w", err)
	}
	return path, nil
}

func install(packed io.ReadSeeker, dir string) (string, error) {
	digest, size, err := version(packed)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "skiff-shim-"+hex.EncodeToString(digest[:8]))
	if !same(path, digest, size) {
		if err := unpack(packed, path, digest); err != nil {
			return "", err
		}
	}
	others, _ := filepath.Glob(filepath.Join(dir, "skiff-shim-*"))
	for _, other := range others {
		if other != path {
			_ = os.Remove(other) // keepers that run it go on
		}
	}
	if err := unix.Access(path, unix.X_OK); err != nil {
		return "", fmt.Errorf("%s cannot be executed (is it on a filesystem mounted noexec?): %w", path, err)
	}
	return path, nil
}

// same tells whether a file is the whole shim: its content, because a bad disk or hand changes bytes and leaves the size. Reading it brings it into
// the page cache, from which it is about to be started.
func same(path string, digest [sha256.Size]byte, size int64) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() != size {
		return false
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false
	}
	return [sha256.Size]byte(h.Sum(nil)) == digest
}

// version reads what the executable must be: its digest, with which the packed file begins, and its size in bytes. What follows is compressed.
func version(packed io.ReadSeeker) (digest [sha256.Size]byte, size int64, err error) {
	var start [zstd.HeaderMaxSize]byte
	if _, err := io.ReadFull(packed, digest[:]); err != nil {
		return digest, 0, err
	}
	if _, err := io.ReadFull(packed, start[:]); err != nil {
		return digest, 0, err
	}
	if _, err := packed.Seek(sha256.Size, io.SeekStart); err != nil {
		return digest, 0, err
	}
	var header zstd.Header
	if err := header.Decode(start[:]); err != nil {
		return digest, 0, err
	}
	if !header.HasFCS || !header.HasCheckSum {
		return digest, 0, errors.New("it was packed without its size or checksum")
	}
	return digest, int64(header.FrameContentSize), nil
}

// unpack writes the file so that it is either whole or not there, whatever happens.
func unpack(packed io.Reader, path string, digest [sha256.Size]byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "skiff-shim-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h := sha256.New()
	err = decompress(io.MultiWriter(f, h), packed)
	if err == nil && [sha256.Size]byte(h.Sum(nil)) != digest {
		err = errors.New("what this program carries is damaged: its digest is another")
	}
	for _, next := range []func() error{func() error { return f.Chmod(0o755) }, f.Sync, f.Close, func() error { return os.Rename(f.Name(), path) }} {
		if err == nil {
			err = next()
		}
	}
	return err
}

// window bounds what unpacking keeps in memory, bytes.
const window = 256 << 10

func decompress(w io.Writer, packed io.Reader) error {
	d, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.WriteTo(w)
	return err
}

// Pack compresses an executable for built/, after its digest.
func Pack(w io.Writer, executable []byte) error {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
	if err != nil {
		return err
	}
	digest := sha256.Sum256(executable)
	_, err = w.Write(append(digest[:], e.EncodeAll(executable, nil)...))
	return err
}
