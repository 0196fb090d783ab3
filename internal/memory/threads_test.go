package memory

import (
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestThreadsDue(t *testing.T) {
	for _, c := range []struct {
		count, least, after int
		want                bool
	}{{24, 10, 10, true}, {10, 10, 0, false}, {11, 10, 10, false}, {24, 10, 22, false}, {24, 10, 0, true}} {
		if got := threadsDue(c.count, c.least, c.after); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestThreadsEnd leaves thirty threads behind, as blocking system calls do, and has them ended.
func TestThreadsEnd(t *testing.T) {
	var all sync.WaitGroup
	var ends []*os.File
	for range 30 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fd := r.Fd() // makes it blocking: a read holds its thread
		ends = append(ends, w)
		all.Go(func() {
			defer r.Close()
			_, _ = syscall.Read(int(fd), make([]byte, 1))
		})
	}
	for threads() < 30 { // all of them read, some day
		time.Sleep(time.Millisecond)
	}
	for _, w := range ends {
		w.Close()
	}
	all.Wait()
	before := threads()
	after := endThreads(5)
	for range 100 { // others of the test binary may make one meanwhile
		if after < before/2 {
			return
		}
		after = endThreads(5)
	}
	t.Errorf("%d threads of %d are left", after, before)
}
