package logind

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

func TestShutdownOf(t *testing.T) {
	const name = "org.freedesktop.login1.Manager.PrepareForShutdown"
	for _, c := range []struct {
		signal   *dbus.Signal
		down, ok bool
	}{
		{&dbus.Signal{Name: name, Body: []any{true}}, true, true}, {&dbus.Signal{Name: name, Body: []any{false}}, false, true},
		{nil, false, false}, {&dbus.Signal{Name: name}, false, false}, {&dbus.Signal{Name: name, Body: []any{"true"}}, false, false},
		{&dbus.Signal{Name: "org.freedesktop.login1.Manager.PrepareForSleep", Body: []any{true}}, false, false},
	} {
		if down, ok := shutdownOf(c.signal); down != c.down || ok != c.ok {
			t.Errorf("%+v: %v %v", c.signal, down, ok)
		}
	}
}

// machine is what logind and systemd are on a bus.
type machine struct {
	mu       sync.Mutex
	delay    uint64 // microseconds
	config   string
	inhibits [][4]string
	read     *os.File // ends when the inhibitor is closed
}

func (m *machine) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inhibits = append(m.inhibits, [4]string{what, who, why, mode})
	m.read = r
	return dbus.UnixFD(w.Fd()), nil
}

func (m *machine) KillUnit(unit, who string, signal int32) *dbus.Error {
	b, err := os.ReadFile(m.config)
	if err != nil || unit != "systemd-logind.service" || signal != 1 {
		return dbus.MakeFailedError(fmt.Errorf("kill %s %s %d: %v", unit, who, signal, err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, seconds, _ := strings.Cut(string(b), "InhibitDelayMaxSec=")
	n, err := strconv.ParseUint(strings.TrimSpace(seconds), 10, 64)
	if err != nil {
		return dbus.MakeFailedError(err)
	}
	m.delay = n * 1_000_000
	return nil
}

// Get is org.freedesktop.DBus.Properties.
func (m *machine) Get(_, property string) (dbus.Variant, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if property != "InhibitDelayMaxUSec" {
		return dbus.Variant{}, dbus.MakeFailedError(errors.New(property))
	}
	return dbus.MakeVariant(m.delay), nil
}

// TestOverABus speaks with a logind on a bus of its own.
func TestOverABus(t *testing.T) {
	daemon, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("there is no dbus-daemon")
	}
	address := "unix:path=" + filepath.Join(t.TempDir(), "bus")
	cmd := exec.Command(daemon, "--session", "--nofork", "--nopidfile", "--address="+address, "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Skipf("dbus-daemon does not start here: %v", err)
	}
	connect := func() *dbus.Conn {
		t.Helper()
		c, err := dbus.Connect(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	m, server := &machine{delay: 5_000_000, config: filepath.Join(t.TempDir(), "dir", "logind.conf")}, connect()
	for path, face := range map[dbus.ObjectPath]string{object: manager, "/org/freedesktop/systemd1": "org.freedesktop.systemd1.Manager"} {
		for _, f := range []string{face, "org.freedesktop.DBus.Properties"} {
			if err := server.Export(m, path, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{service, "org.freedesktop.systemd1"} {
		if _, err := server.RequestName(name, 0); err != nil {
			t.Fatal(err)
		}
	}
	c := &Conn{bus: connect(), config: m.config}
	if d, err := c.Delay(); err != nil || d != 5*time.Second {
		t.Fatal(d, err)
	}
	if err := c.SetDelay(90 * time.Second); err != nil {
		t.Fatal(err)
	}
	if d, err := c.Delay(); err != nil || d != 90*time.Second {
		t.Fatal(d, err)
	}
	lock, err := c.Inhibit()
	if err != nil {
		t.Fatal(err)
	}
	if m.inhibits[0][0] != "shutdown" || m.inhibits[0][3] != "delay" {
		t.Errorf("%v", m.inhibits)
	}
	events, err := c.Shutdowns()
	if err != nil {
		t.Fatal(err)
	}
	for _, down := range []bool{true, false} {
		if err := server.Emit(object, manager+".PrepareForShutdown", down); err != nil {
			t.Fatal(err)
		}
		if got := <-events; got != down {
			t.Errorf("got %v", got)
		}
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
	c.Close()
	if _, ok := <-events; ok {
		t.Error("an event after the connection was closed")
	}
}
