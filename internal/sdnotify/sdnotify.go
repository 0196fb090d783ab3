// Package sdnotify tells the service manager how the program is doing, by systemd's protocol: one datagram to the socket that
// $NOTIFY_SOCKET names (sd_notify(3)). Without such a socket every call does nothing. It starts no goroutine and keeps no state.
package sdnotify

import (
	"fmt"
	"net"
	"os"
)

// Ready is the state that lets systemd go on with what is ordered after a unit of Type=notify.
const Ready = "READY=1"

// Send sends a state, such as [Ready].
func Send(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	// A name that begins with @ is in the abstract namespace, which package net spells the same way.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
