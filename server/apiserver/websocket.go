package apiserver

import (
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/websocket"

	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/registry"
)

func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") && strings.Contains(strings.ToLower(r.Header.Get("Connection")), "upgrade")
}

// watchWebSocket sends each event as one message: text for JSON, binary for protobuf.
func (q *request) watchWebSocket(w *registry.Watch, enc *eventEncoder) error {
	server := websocket.Server{Handshake: acceptAnyOrigin, Handler: func(ws *websocket.Conn) {
		defer ws.Close()
		ws.MaxPayloadBytes = 4 << 10 // the client has nothing to say
		gone := make(chan struct{})
		go func() { // the client sends nothing; reading finds out when it leaves
			defer close(gone)
			var discard []byte
			for websocket.Message.Receive(ws, &discard) == nil {
			}
		}()
		q.stream(w, enc, gone, func(batch []byte) error {
			_ = ws.SetWriteDeadline(time.Now().Add(30 * time.Second))
			return sendMessages(ws, q.format(), batch)
		})
		_ = ws.Close()
		<-gone
	}}
	server.ServeHTTP(q.w, q.r)
	return nil
}

// acceptAnyOrigin takes the first subprotocol: who may call was decided by authentication, not by the page's origin.
func acceptAnyOrigin(config *websocket.Config, _ *http.Request) error {
	if len(config.Protocol) > 1 {
		config.Protocol = config.Protocol[:1]
	}
	return nil
}

// sendMessages cuts a batch of encoded events into messages.
func sendMessages(ws *websocket.Conn, f codec.Format, batch []byte) error {
	for len(batch) > 0 {
		var message []byte
		message, batch = codec.CutEvent(f, batch)
		var err error
		if f == codec.Protobuf {
			err = websocket.Message.Send(ws, message)
		} else {
			err = websocket.Message.Send(ws, string(message))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
