package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
)

// Size of a terminal, in characters.
type Size struct{ Width, Height uint16 }

// Streams of an attached client. Input is read only if Stdin is not nil.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}

// frameMax is what one frame of input holds.
const frameMax = 8 * 1024

// Attach connects to a container's streams and copies until it exits or ctx ends, or until Stdin ends and the container's
// input stays open for others (no StdinOnce, or a terminal).
func Attach(ctx context.Context, dir, id string, s Streams) error {
	conn, err := dial(dir)
	if err != nil {
		return fmt.Errorf("%w (%v)", ErrGone, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	with := "0"
	if s.Stdin != nil {
		with = "1"
	}
	if _, err := conn.Write([]byte("1\x00ATTACH\x00" + id + "\x00" + with + "\x00")); err != nil {
		return err
	}
	buf := make([]byte, messageMax)
	n, err := conn.Read(buf)
	if err != nil {
		return err
	}
	if f := strings.Split(string(buf[:n]), "\x00"); len(f) < 2 || f[1] != "OK" {
		return errors.New(strings.Join(f[min(2, len(f)):], ""))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	if s.Resize != nil {
		wg.Go(func() { sendSizes(conn, s.Resize, done) })
	}
	if s.Stdin != nil {
		// Not waited for: it may sit in Read for ever, which is the reader's owner's to end.
		go sendInput(conn, s.Stdin)
	}
	err = receiveOutput(conn, buf, s)
	close(done)
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func sendSizes(conn *net.UnixConn, sizes <-chan Size, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case z, ok := <-sizes:
			if !ok {
				return
			}
			frame := []byte{'r', byte(z.Width), byte(z.Width >> 8), byte(z.Height), byte(z.Height >> 8)}
			if _, err := conn.Write(frame); err != nil {
				return
			}
		}
	}
}

func sendInput(conn *net.UnixConn, r io.Reader) {
	buf := make([]byte, 1+frameMax)
	buf[0] = 'i'
	for {
		n, err := r.Read(buf[1:])
		if n > 0 {
			if _, err := conn.Write(buf[:1+n]); err != nil {
				return
			}
		}
		if err != nil {
			_, _ = conn.Write([]byte{'c'})
			return
		}
	}
}

// receiveOutput ends without error when the keeper says that it is over or is gone.
func receiveOutput(conn *net.UnixConn, buf []byte, s Streams) error {
	for {
		n, err := conn.Read(buf)
		if err != nil || n == 0 || buf[0] == 'x' {
			return nil
		}
		w := s.Stdout
		if buf[0] == 'e' {
			w = s.Stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(buf[1:n]); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
}
