// Package shim carries the shim, a small executable of nothing but package reexec, inside the large one. Keepers, creators, executors
// and libcontainer's init are started from it: it has a fifth of the pages to touch and of the packages to initialise.
// `make` builds it into built/; a program that was built without one is its own shim.
package shim

import (
	"embed"
	"encoding/binary"
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
	name, size, err := version(packed)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if fi, err := os.Stat(path); err != nil || fi.Size() != size {
		if err := unpack(packed, path); err != nil {
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

// version is the file's name, which says what is in it, and its size in bytes.
func version(packed io.ReadSeeker) (name string, size int64, err error) {
	var start [zstd.HeaderMaxSize]byte
	var checksum [4]byte // zstd ends with one of the content
	if _, err := io.ReadFull(packed, start[:]); err != nil {
		return "", 0, err
	}
	if _, err := packed.Seek(-int64(len(checksum)), io.SeekEnd); err != nil {
		return "", 0, err
	}
	if _, err := io.ReadFull(packed, checksum[:]); err != nil {
		return "", 0, err
	}
	if _, err := packed.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	var header zstd.Header
	if err := header.Decode(start[:]); err != nil {
		return "", 0, err
	}
	if !header.HasFCS || !header.HasCheckSum {
		return "", 0, errors.New("it was packed without its size or checksum")
	}
	return fmt.Sprintf("skiff-shim-%x-%08x", header.FrameContentSize, binary.LittleEndian.Uint32(checksum[:])), int64(header.FrameContentSize), nil
}

// unpack writes the file so that it is either whole or not there, whatever happens.
func unpack(packed io.Reader, path string) error {
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
	err = decompress(f, packed)
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

// Pack compresses an executable for built/.
func Pack(w io.Writer, executable []byte) error {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
	if err != nil {
		return err
	}
	_, err = w.Write(e.EncodeAll(executable, nil))
	return err
}
