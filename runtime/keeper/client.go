package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone is returned when the keeper is gone or its connection is.
var ErrGone = errors.New("the sandbox's keeper is gone")

const messageMax = 32*1024 + 64

// Item is what the keeper knows of a container.
type Item struct {
	ID string
	// State is starting, running or exited.
	State             string
	PID, Code, Signal int
	Started, Finished time.Time
}

// Event of a keeper: a container has exited (Exit), or its log file is full (LogFull is its id), or a start that was
// asked for by an earlier daemon has ended: well (Run) or not (Fail is its id, Why the reason).
type Event struct {
	Exit, Run *Item
	LogFull   string
	Fail, Why string
}

// Client is the daemon's connection to one keeper. Safe for concurrent use.
type Client struct {
	// PID of the keeper, PID1 of the shared PID namespace's first process or 0, Protocol the keeper speaks.
	PID, PID1, Protocol int
	dir                 string
	conn                *net.UnixConn

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan []string
	done    chan struct{}
}

// dial connects by way of the open directory, as listen does.
func dial(dir string) (*net.UnixConn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	name := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), SocketName)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: name, Net: "unixpacket"})
		// The queue of connections can be full for a moment: unix sockets do not wait for room.
		if !errors.Is(err, unix.EAGAIN) || time.Now().After(deadline) {
			return conn, err
		}
	}
}

// Dial connects to the keeper in a sandbox's run directory and asks who it is and what it has. Nothing is read
// afterwards until [Client.Serve] runs.
func Dial(dir string) (*Client, []Item, error) {
	conn, err := dial(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", filepath.Join(dir, SocketName), err)
	}
	c := &Client{dir: dir, conn: conn, waiting: map[uint64]chan []string{}, done: make(chan struct{})}
	items, err := c.hello()
	if err != nil {
		conn.Close()
		return nil, nil, fmt.Errorf("greet keeper in %s: %w", dir, err)
	}
	return c, items, nil
}

func (c *Client) hello() ([]Item, error) {
	_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second))
	defer c.conn.SetDeadline(time.Time{})
	if err := c.send(1, nil, "HELLO"); err != nil {
		return nil, err
	}
	f, err := c.read()
	if err != nil {
		return nil, err
	}
	if len(f) < 5 || f[1] != "OK" {
		return nil, fmt.Errorf("unexpected answer %q", f)
	}
	c.Protocol, _ = strconv.Atoi(f[2])
	c.PID, _ = strconv.Atoi(f[3])
	c.PID1, _ = strconv.Atoi(f[4])
	if err := c.send(2, nil, "WATCH"); err != nil {
		return nil, err
	}
	c.last = 2
	var items []Item
	for {
		f, err := c.read()
		if err != nil {
			return nil, err
		}
		switch {
		case len(f) >= 2 && f[0] == "2" && f[1] == "OK":
			return items, nil
		case len(f) >= 2 && f[1] == "ITEM":
			items = append(items, parseItem(f[2:]))
		}
	}
}

// Serve reads answers and events until the connection ends, and closes it.
func (c *Client) Serve(handle func(Event)) {
	defer c.Close()
	defer close(c.done)
	for {
		f, err := c.read()
		if err != nil {
			return
		}
		if len(f) < 2 {
			continue
		}
		if n, _ := strconv.ParseUint(f[0], 10, 64); n != 0 {
			c.mu.Lock()
			ch := c.waiting[n]
			delete(c.waiting, n)
			c.mu.Unlock()
			if ch != nil {
				ch <- f[1:]
			}
			continue
		}
		switch {
		case f[1] == "EXIT":
			item := parseItem(f[2:])
			handle(Event{Exit: &item})
		case f[1] == "RUN":
			item := parseItem(f[2:])
			handle(Event{Run: &item})
		case f[1] == "FAIL" && len(f) > 3:
			handle(Event{Fail: f[2], Why: f[3]})
		case f[1] == "LOGFULL" && len(f) > 2:
			handle(Event{LogFull: f[2]})
		}
	}
}

// Close ends the connection; the keeper lives on.
func (c *Client) Close() { c.conn.Close() }

func (c *Client) send(n uint64, fds []int, fields ...string) error {
	msg := strconv.FormatUint(n, 10) + "\x00" + strings.Join(fields, "\x00") + "\x00"
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err := c.conn.WriteMsgUnix([]byte(msg), oob, nil)
	return err
}

func (c *Client) read() ([]string, error) {
	var buf [4096]byte
	n, err := c.conn.Read(buf[:])
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, ErrGone
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

// call sends a request and waits for its answer.
func (c *Client) call(ctx context.Context, fds []int, fields ...string) ([]string, error) {
	ch := make(chan []string, 1)
	c.mu.Lock()
	c.last++
	n := c.last
	c.waiting[n] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, n)
		c.mu.Unlock()
	}()
	if err := c.send(n, fds, fields...); err != nil {
		return nil, fmt.Errorf("%w (%v)", ErrGone, err)
	}
	select {
	case f := <-ch:
		if f[0] == "ERR" {
			return nil, errors.New(strings.Join(f[1:], " "))
		}
		return f[1:], nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return nil, ErrGone
	}
}

// StartFlags say what streams a container has and what happens at its end.
type StartFlags int

// The flags of START, as in keeper.h.
const (
	TTY       StartFlags = 1
	Stdin     StartFlags = 2
	StdinOnce StartFlags = 4
	KillRest  StartFlags = 8
)

// Start asks for a container.
type Start struct {
	ID      string
	Flags   StartFlags
	LogPath string
	// LogMax is the size of the log file at which the keeper says so.
	LogMax int64
	// KillCgroup is the cgroup directory to kill when the first process has ended, with KillRest.
	KillCgroup string
	// Executable and Request (a reexec.Request) for the creator.
	Executable, Request *os.File
}

// Start runs the creator and returns when the container runs, or why it does not.
func (c *Client) Start(ctx context.Context, s Start) (Item, error) {
	f, err := c.call(ctx, []int{int(s.Executable.Fd()), int(s.Request.Fd())}, "START", s.ID, strconv.Itoa(int(s.Flags)),
		s.LogPath, strconv.FormatInt(s.LogMax, 10), s.KillCgroup)
	if err != nil {
		return Item{}, err
	}
	return parseItem(f), nil
}

// Signal sends a signal to a container's first process; while it is starting, any signal ends the start.
func (c *Client) Signal(ctx context.Context, id string, sig int) error {
	_, err := c.call(ctx, nil, "KILL", id, strconv.Itoa(sig))
	return err
}

// Reopen opens the log file anew.
func (c *Client) Reopen(ctx context.Context, id string) error {
	_, err := c.call(ctx, nil, "REOPEN", id)
	return err
}

// Forget drops what the keeper knows of an exited container.
func (c *Client) Forget(ctx context.Context, id string) error {
	_, err := c.call(ctx, nil, "FORGET", id)
	return err
}

func parseItem(f []string) Item {
	for len(f) < 7 {
		f = append(f, "")
	}
	i := Item{ID: f[0], State: f[1], Started: parseTime(f[5]), Finished: parseTime(f[6])}
	i.PID, _ = strconv.Atoi(f[2])
	i.Code, _ = strconv.Atoi(f[3])
	i.Signal, _ = strconv.Atoi(f[4])
	return i
}

func parseTime(s string) time.Time {
	sec, nsec, _ := strings.Cut(s, ".")
	a, err := strconv.ParseInt(sec, 10, 64)
	b, err2 := strconv.ParseInt(nsec, 10, 64)
	if err != nil || err2 != nil || a == 0 {
		return time.Time{}
	}
	return time.Unix(a, b)
}

// ReadExit reads the exit file of a container in a sandbox's run directory.
func ReadExit(dir, id string) (code, signal int, at time.Time, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "exit."+id))
	if err != nil {
		return 0, 0, time.Time{}, err
	}
	f := strings.Fields(string(b))
	if len(f) < 3 {
		return 0, 0, time.Time{}, fmt.Errorf("exit file of container %s is damaged: %q", id, b)
	}
	code, err = strconv.Atoi(f[0])
	if err == nil {
		signal, err = strconv.Atoi(f[1])
	}
	return code, signal, parseTime(f[2]), err
}
