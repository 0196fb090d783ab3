// Package apiserver is the HTTP face of the registry: routing, authentication and authorization, formats, watch streams,
// patch bodies, Table, discovery, OpenAPI, and the streams that end at a kubelet. It knows no storage and no kind: what
// is particular to a kind comes from the catalogue.
//
// # The way of a request
//
//	recover → audit id → parse path → deadline → authenticate → impersonate → wait for its turn → authorize → serve
//
// # Files
//
//	handler.go   that way, in order          path.go      what a URL asks for
//	read.go      get, list                   write.go     create, update, delete
//	patch.go     the four patches            watch.go     streams of events
//	body.go      bodies in                   respond.go   objects out
//	table.go     columns for kubectl         errors.go    every error is a Status
//	connect.go   exec, log, proxies          root.go      health, version, discovery, OpenAPI
//	admit.go     turns and seats (fairness)  aggregate.go what other servers serve
//
// What keeps one client from taking all there is: listen.go (connections), streams.go (watches and streams of a user),
// deadline.go (clients that send or read too slowly), heavy.go (long lists at work), body.go (bytes).
//
// Sub-packages: negotiate (headers), codec (bytes), authn, authz, rbac, node (who may what), fairness (who runs
// now), discovery, openapi, proxy (to nodes), review (the access reviews).
//
// # Goroutines
//
// Run starts the listeners and ends them; every request has the goroutine that net/http gives it. New starts nothing.
package apiserver
