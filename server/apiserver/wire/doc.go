// Package wire lies between package http2 and TLS, and between TLS and the socket, so that much that is sent at once leaves in few TLS
// records and few system calls.
//
// Package http2 hands each frame to the connection by itself: 16 KiB and 9 bytes, which are two records and two system calls, or 4 KiB of
// small frames. A long list, or a burst of events to many watches, is a thousand of them. So a frame that others are likely to follow is
// only queued, and a goroutine that lives as long as there is something sends all that has been queued meanwhile in one call. What
// ends a burst, as the answer to a get is one, is sent by the caller as before.
//
// What a connection may have queued is bounded; then its writer waits, as it would for a full socket. A connection at rest has
// no buffer and no goroutine.
package wire
