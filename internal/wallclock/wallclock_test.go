package wallclock

import (
	"context"
	"testing"
	"time"
)

func TestAfter(t *testing.T) {
	for _, d := range []time.Duration{-time.Hour, 0, time.Millisecond} {
		<-After(t.Context(), d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	long := make(chan bool)
	go func() { long <- wait(ctx, 24*time.Hour) }()
	cancel()
	if <-long {
		t.Error("it came although its context ended")
	}
}

// TestKernelTells: the timer is of the kind that a set clock ends. Setting the machine's clock is no test's to do.
func TestKernelTells(t *testing.T) {
	f, err := timer(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
