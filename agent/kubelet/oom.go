package kubelet

import (
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// systemOOM is what the kernel says when the whole machine ran out of memory; a container that used up its own begins otherwise.
var systemOOM = regexp.MustCompile(`^Out of memory: Killed process (\d+) \((.*?)\)`)

// watchOOM tells of processes that the kernel killed because the machine had no memory left. It reads what the kernel says from now on, which
// wakes nobody while it says nothing.
func (k *Kubelet) watchOOM(ctx context.Context) error {
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		_, err = kmsg.Seek(0, io.SeekEnd)
	}
	if err != nil {
		k.cfg.Log.Debug("the kernel's messages cannot be read", "err", err)
		<-ctx.Done()
		return nil
	}
	stop := context.AfterFunc(ctx, func() { kmsg.Close() })
	defer stop()
	defer kmsg.Close()
	buf := make([]byte, 8<<10) // a record is never longer
	for ctx.Err() == nil {
		n, err := kmsg.Read(buf)
		switch {
		case errors.Is(err, syscall.EPIPE): // records were overwritten before they were read
		case err != nil:
			<-ctx.Done()
		default:
			if pid, name, ok := victimOf(string(buf[:n])); ok {
				k.events.onNode(corev1.EventTypeWarning, "SystemOOM", "System OOM encountered, victim process: %s, pid: %s", name, pid)
			}
		}
	}
	return nil
}

// victimOf reads a record of /dev/kmsg: "6,1234,5678,-;text", and lines of further facts.
func victimOf(record string) (pid, name string, ok bool) {
	_, text, _ := strings.Cut(record, ";")
	m := systemOOM.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}
