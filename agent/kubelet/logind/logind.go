// Package logind talks to systemd-logind over D-Bus: when the machine goes down, and how to hold that up for a while.
// https://systemd.io/INHIBITOR_LOCKS and org.freedesktop.login1(5).
package logind

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	service = "org.freedesktop.login1"
	object  = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"

	// ConfigFile is written when the machine has to wait longer than it is configured to.
	ConfigFile = "/etc/systemd/logind.conf.d/99-skiff.conf"
)

// Conn is a connection to logind.
type Conn struct {
	bus    *dbus.Conn
	config string
}

// Dial connects to logind on the system bus.
func Dial() (*Conn, error) {
	bus, err := dbus.ConnectSystemBus()
	if err != nil {
		return nil, fmt.Errorf("connect to the system bus: %w", err)
	}
	return &Conn{bus: bus, config: ConfigFile}, nil
}

// Close the connection. What Inhibit returned goes on.
func (c *Conn) Close() error { return c.bus.Close() }

// Delay is how long the machine waits for those who hold a shutdown up.
func (c *Conn) Delay() (time.Duration, error) {
	v, err := c.bus.Object(service, object).GetProperty(manager + ".InhibitDelayMaxUSec")
	if err != nil {
		return 0, fmt.Errorf("ask logind how long a shutdown can be held up: %w", err)
	}
	usec, ok := v.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("logind says that a shutdown can be held up for %v", v)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

// SetDelay makes the machine wait so long: a file for logind, which is then told to read it. It takes effect a little later.
func (c *Conn) SetDelay(d time.Duration) error {
	if err := os.MkdirAll(filepath.Dir(c.config), 0o755); err != nil {
		return fmt.Errorf("configure logind: %w", err)
	}
	text := fmt.Sprintf("# Written by skiff, for --shutdown-grace-period.\n[Login]\nInhibitDelayMaxSec=%.0f\n", d.Seconds())
	if err := os.WriteFile(c.config, []byte(text), 0o644); err != nil {
		return fmt.Errorf("configure logind: %w", err)
	}
	const hangup = int32(1)
	systemd := c.bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := systemd.Call("org.freedesktop.systemd1.Manager.KillUnit", 0, "systemd-logind.service", "all", hangup).Err; err != nil {
		return fmt.Errorf("make logind read its configuration: %w", err)
	}
	return nil
}

// Inhibit holds a shutdown up until it is closed, or the delay is over.
func (c *Conn) Inhibit() (io.Closer, error) {
	var fd dbus.UnixFD
	err := c.bus.Object(service, object).Call(manager+".Inhibit", 0, "shutdown", "skiff", "pods are ended in order", "delay").Store(&fd)
	if err != nil {
		return nil, fmt.Errorf("hold up shutdowns: %w", err)
	}
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}

// Shutdowns delivers true when the machine is going down, and false when it is not after all. It is closed with the connection.
func (c *Conn) Shutdowns() (<-chan bool, error) {
	err := c.bus.AddMatchSignal(dbus.WithMatchInterface(manager), dbus.WithMatchMember("PrepareForShutdown"), dbus.WithMatchObjectPath(object))
	if err != nil {
		return nil, fmt.Errorf("listen to logind: %w", err)
	}
	signals, out := make(chan *dbus.Signal, 8), make(chan bool, 8)
	c.bus.Signal(signals)
	go func() {
		defer close(out)
		for s := range signals { // closed with the connection
			if down, ok := shutdownOf(s); ok {
				out <- down
			}
		}
	}()
	return out, nil
}

func shutdownOf(s *dbus.Signal) (down, ok bool) {
	if s == nil || s.Name != manager+".PrepareForShutdown" || len(s.Body) != 1 {
		return false, false
	}
	down, ok = s.Body[0].(bool)
	return down, ok
}

// RemoveConfig takes away what SetDelay wrote.
func RemoveConfig() error {
	if err := os.Remove(ConfigFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the configuration of logind: %w", err)
	}
	return nil
}
