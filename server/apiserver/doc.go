// Package apiserver is the HTTP face of the registry: routing, authentication and authorization, formats, watch streams,
// patch bodies, Table, discovery, OpenAPI, and the streams that end at a kubelet. It knows no storage and no kind: what
// is particular to a kind comes from the catalogue.
//
// # The way of a request
//
//	recover → audit id → in-flight limit, deadline → parse path → authenticate → impersonate → authorize → serve
//
// # Files
//
//	handler.go   that way, in order          path.go      what a URL asks for
//	read.go      get, list                   write.go     create, update, delete
//	patch.go     the four patches            watch.go     streams of events
//	body.go      bodies in                   respond.go   objects out
//	table.go     columns for kubectl         errors.go    every error is a Status
//	connect.go   exec, log, proxies          root.go      health, version, discovery, OpenAPI
//
// Sub-packages: negotiate (headers), codec (bytes), authn, authz, rbac, node (who may what), discovery, openapi, proxy
// (to nodes), review (the access reviews).
//
// # Goroutines
//
// Run starts the listeners and ends them; every request has the goroutine that net/http gives it. New starts nothing.
package apiserver
