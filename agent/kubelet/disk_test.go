package kubelet

import "testing"

func TestDiskBelow(t *testing.T) {
	// 252 GB, of which 61 are used and 31 may still be: two thirds full, however much is reserved.
	d := disk{size: 92, free: 31}
	if d.below(0.15) || d.below(0.10) || !d.below(0.40) {
		t.Errorf("%+v", d)
	}
	if full := (disk{size: 100, free: 4}); !full.below(0.10) {
		t.Error("a full disk is not full")
	}
}

func TestReadDisk(t *testing.T) {
	d, ok := readDisk(t.TempDir())
	if !ok || d.size <= 0 || d.free > d.size || uint64(d.size) > d.capacity {
		t.Errorf("%+v %v", d, ok)
	}
	if _, ok := readDisk("/does/not/exist"); ok {
		t.Error("measured what is not there")
	}
}
