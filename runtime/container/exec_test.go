package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// run runs a command in a container; it returns the exit code and what it wrote.
func (b *bed) run(id string, spec ExecSpec) (int, string, string, error) {
	var out, errOut bytes.Buffer
	spec.Stdout, spec.Stderr = &out, &errOut
	code, err := b.Exec(ctx, id, spec)
	return code, out.String(), errOut.String(), err
}

func script(s string) ExecSpec { return ExecSpec{Args: []string{"sh", "-c", s}} }

func TestExec(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", "exec sleep 1000")
	spec.Env = []string{"COLOR=blue"}
	spec.Cwd = "/made/here"
	spec.UID, spec.GID, spec.Groups = 1000, 2000, []uint32{3000}
	b.start("a", spec)

	code, out, errOut, err := b.run("c", script("echo $COLOR $SIZE; pwd; id -u; id -G; echo problem >&2; exit 42"))
	if code != 42 || err != nil || out != "blue\n/made/here\n1000\n2000 3000\n" || errOut != "problem\n" {
		t.Errorf("%d %q %q %v", code, out, errOut, err)
	}
	with := script("echo $SIZE; cat")
	with.Env, with.Stdin = []string{"SIZE=big"}, strings.NewReader("from stdin")
	if code, out, _, err := b.run("c", with); code != 0 || err != nil || out != "big\nfrom stdin" {
		t.Errorf("%d %q %v", code, out, err)
	}
	if code, _, _, err := b.run("c", script("kill -9 $$")); code != 137 || err != nil {
		t.Errorf("killed: %d %v", code, err)
	}
	code, _, _, err = b.run("c", ExecSpec{Args: []string{"frobnicate"}})
	if code != 127 || err == nil || !strings.Contains(err.Error(), `exec: "frobnicate": executable file not found in $PATH`) {
		t.Errorf("%d %v", code, err)
	}
	if _, err := b.Exec(ctx, "nobody", script("true")); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	begin := time.Now()
	slow := script("sleep 100 & sleep 100")
	slow.Timeout = 200 * time.Millisecond
	if code, _, _, err := b.run("c", slow); code != 137 || !errors.Is(err, ErrExecTimeout) || time.Since(begin) > 40*time.Second {
		t.Errorf("timeout: %d %v after %v", code, err, time.Since(begin))
	}
	eventually(t, "no sleep 100 is left", func() bool {
		_, out, _, _ := b.run("c", ExecSpec{Args: []string{"ps"}})
		return !strings.Contains(out, "sleep 100\n")
	})
	// A process that it leaves behind holds its output; exec must end all the same.
	begin = time.Now()
	if code, out, _, err := b.run("c", script("sleep 50 & echo gone")); code != 0 || err != nil || out != "gone\n" || time.Since(begin) > 40*time.Second {
		t.Errorf("%d %q %v after %v", code, out, err, time.Since(begin))
	}
	cctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := b.Exec(cctx, "c", script("sleep 100")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestExecManyAtOnce(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	b.start("a", b.shell("c", "exec sleep 1000"))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if code, out, _, err := b.run("c", script("seq 2000 | tail -n 1; exit "+string(rune('0'+i%10)))); code != i%10 || out != "2000\n" || err != nil {
				t.Errorf("%d: %d %q %v", i, code, out, err)
			}
		})
	}
	wg.Wait()
}

func TestExecTerminal(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	b.start("a", b.shell("c", "exec sleep 1000"))
	in, typed := io.Pipe()
	sizes := make(chan Size, 1)
	sizes <- Size{Width: 101, Height: 33}
	spec := ExecSpec{Args: []string{"sh"}, TTY: true, Stdin: in, Resize: sizes}
	var out bytes.Buffer
	spec.Stdout = &out
	go func() {
		time.Sleep(200 * time.Millisecond)
		io.WriteString(typed, "tty; stty size; exit 5\n")
	}()
	code, err := b.Exec(ctx, "c", spec)
	if code != 5 || err != nil || !strings.Contains(out.String(), "33 101\r\n") || !strings.Contains(out.String(), "/dev/pts/0\r\n") {
		t.Errorf("%d %q %v", code, out.String(), err)
	}
}

func TestAttach(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", "while read line; do echo got $line; [ $line = end ] && exit 9; done; echo eof; exit 3")
	spec.Stdin, spec.StdinOnce = true, true
	b.start("a", spec)
	in, typed := io.Pipe()
	var out, errOut bytes.Buffer
	done := make(chan error)
	go func() { done <- b.Attach(ctx, "c", AttachSpec{Stdin: in, Stdout: &out, Stderr: &errOut}) }()
	io.WriteString(typed, "one\n")
	io.WriteString(typed, "end\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c := b.wait("c"); c.ExitCode != 9 || out.String() != "got one\ngot end\n" || b.logText("c") != out.String() {
		t.Errorf("exit code %d, output %q, log %q", c.ExitCode, out.String(), b.logText("c"))
	}
	// StdinOnce: the end of the first client is the end of the input.
	spec.ID, spec.LogPath = "d", strings.Replace(spec.LogPath, "c.log", "d.log", 1)
	b.start("a", spec)
	actx, cancel := context.WithCancel(ctx)
	go func() { done <- b.Attach(actx, "d", AttachSpec{Stdin: strings.NewReader(""), Stdout: io.Discard}) }()
	<-done
	cancel()
	if c := b.wait("d"); c.ExitCode != 3 {
		t.Errorf("exit code %d", c.ExitCode)
	}
	if err := b.Attach(ctx, "d", AttachSpec{Stdout: io.Discard}); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}

// TestAttachAgain: without StdinOnce the end of a client's input ends its attachment, and the container's input goes on.
func TestAttachAgain(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	for _, tty := range []bool{false, true} {
		id := map[bool]string{false: "pipe", true: "terminal"}[tty]
		spec := b.shell(id, "while read line; do echo got $line; [ $line = end ] && exit 9; done; echo eof; exit 3")
		spec.Stdin, spec.TTY, spec.StdinOnce = true, tty, tty // a terminal's input has no end, whatever StdinOnce says
		b.start("a", spec)
		for range 2 {
			if err := b.Attach(ctx, id, AttachSpec{Stdin: strings.NewReader("one\n"), Stdout: io.Discard}); err != nil {
				t.Error(err)
			}
		}
		in, typed := io.Pipe()
		go io.WriteString(typed, "end\n")
		if err := b.Attach(ctx, id, AttachSpec{Stdin: in, Stdout: io.Discard}); err != nil {
			t.Error(err)
		}
		if c, log := b.wait(id), b.logText(id); c.ExitCode != 9 || strings.Count(log, "got one") != 2 || strings.Contains(log, "eof") {
			t.Errorf("%s: exit code %d, log %q", id, c.ExitCode, log)
		}
	}
}

func TestTerminal(t *testing.T) {
	b := newBed(t)
	b.sandbox("a")
	spec := b.shell("c", "tty; read x; stty size; echo $x; exit 4")
	spec.TTY, spec.Stdin = true, true
	b.start("a", spec)
	in, typed := io.Pipe()
	sizes := make(chan Size, 1)
	sizes <- Size{Width: 90, Height: 20}
	var out bytes.Buffer
	done := make(chan error)
	go func() { done <- b.Attach(ctx, "c", AttachSpec{Stdin: in, Stdout: &out, Resize: sizes}) }()
	time.Sleep(200 * time.Millisecond)
	io.WriteString(typed, "hello\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c := b.wait("c"); c.ExitCode != 4 || !strings.Contains(b.logText("c"), "20 90\r\nhello\r\n") || !strings.Contains(out.String(), "20 90\r\nhello\r\n") {
		t.Errorf("exit code %d, output %q, log %q", c.ExitCode, out.String(), b.logText("c"))
	}
}
