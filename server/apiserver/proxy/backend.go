package proxy

import (
	"fmt"
	"io"
	"net/http"
)

// backend is the other end of an upgraded connection. A backend that says its last words (an error, an exit code) may close while
// the client still sends. Whoever copies would end at the first write that fails, before the words were read: so what cannot be
// written is thrown away, and only the backend's own end, or the client's, ends the stream.
type backend struct{ io.ReadWriteCloser }

// Write never fails.
func (b *backend) Write(p []byte) (int, error) {
	_, _ = b.ReadWriteCloser.Write(p)
	return len(p), nil
}

// CloseWrite says that the client has ended its half.
func (b *backend) CloseWrite() error {
	if half, ok := b.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("end half of an upgraded connection: %w", http.ErrNotSupported)
}
