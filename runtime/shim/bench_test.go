package shim

import (
	"io"
	"testing"
)

// BenchmarkUnpack is what the first start of a build costs beside writing the file.
func BenchmarkUnpack(b *testing.B) {
	for b.Loop() {
		packed, err := built.Open("built/skiff-shim.zst")
		if err != nil {
			b.Skip("no shim was built")
		}
		if _, _, err := version(packed.(io.ReadSeeker)); err != nil {
			b.Fatal(err)
		}
		if err := decompress(io.Discard, packed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInstall(b *testing.B) {
	for b.Loop() {
		if _, err := Install(b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
}
