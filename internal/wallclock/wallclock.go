// Package wallclock waits by the wall clock: for those whose deadline is a date, like the end of a certificate. A timer of package time counts what
// passes; it notices neither that the clock was set nor that the machine slept.
//
// It has one goroutine a wait, which ends with it or with its context.
package wallclock

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fallback is how long a wait lasts at most where the kernel cannot tell that the clock was set.
const fallback = time.Minute

// After sends the time once: when the wall clock has come d further, or earlier, when it was set or the machine has slept. Who is woken looks at
// the clock again. When ctx ends it sends nothing.
func After(ctx context.Context, d time.Duration) <-chan time.Time {
	out := make(chan time.Time, 1)
	go func() {
		if wait(ctx, d) {
			out <- time.Now()
			return
		}
		close(out)
	}()
	return out
}

func wait(ctx context.Context, d time.Duration) bool {
	f, err := timer(time.Now().Add(d))
	if err != nil {
		t := time.NewTimer(min(d, fallback))
		defer t.Stop()
		select {
		case <-t.C:
			return true
		case <-ctx.Done():
			return false
		}
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	var expirations [8]byte
	_, err = f.Read(expirations[:])
	return ctx.Err() == nil && (err == nil || errors.Is(err, unix.ECANCELED))
}

// timer is readable at a time of the wall clock, or when that is set (timerfd_settime(2)).
func timer(at time.Time) (*os.File, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	// A time of zero would disarm it.
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(at.UnixNano(), 1))}
	if err := unix.TimerfdSettime(fd, unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "timerfd"), nil
}
