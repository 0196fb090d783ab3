package container

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/keeper"
)

// Attach copies streams until the container exits or ctx ends. With StdinOnce and no terminal the end of spec.Stdin ends the
// container's input; otherwise it ends the attachment, and the next one goes on with the same input.
func (m *Manager) Attach(ctx context.Context, containerID string, spec AttachSpec) error {
	c, _, _, err := m.running(containerID)
	if err != nil {
		return err
	}
	streams := keeper.Streams{Stdin: spec.Stdin, Stdout: spec.Stdout, Stderr: spec.Stderr, Resize: spec.Resize}
	if err := keeper.Attach(ctx, m.runDir(c.info.SandboxID), containerID, streams); err != nil {
		return fmt.Errorf("attach to container %s: %w", containerID, err)
	}
	return nil
}

// receiveTerminal takes the pty master that libcontainer sends over the console socket, and closes the socket.
func receiveTerminal(socket *os.File) (*os.File, error) {
	defer socket.Close()
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(int(socket.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || n == 0 || len(messages) != 1 {
		return nil, errors.New("receive terminal: none came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("receive terminal: none came")
	}
	// Non-blocking, so in the poller, so that closing it ends a Read.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), "pty"), nil
}

// setSize sets the terminal's size without (*os.File).Fd, which would make it blocking.
func setSize(tty *os.File, z Size) {
	raw, err := tty.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: z.Height, Col: z.Width})
	})
}
