// Package imageapi lets a command of the same machine use the image store: through the running daemon's socket, because
// only one process has a store open, or else by opening the store itself.
//
// The protocol is plain HTTP over a unix socket that only root may open:
//
//	GET    /v1/images            [image]
//	POST   /v1/pull              {"Ref": …, "Options": …} → image
//	POST   /v1/import            the archive as the body → [image]
//	DELETE /v1/images?ref=REF
//
// Errors are {"message": …, "kind": …} and come out of the client wrapping the same errors of package image.
//
// Serve starts the HTTP server's goroutines and waits for them. Nothing else runs in the background.
package imageapi
