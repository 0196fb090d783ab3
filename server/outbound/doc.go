// Package outbound is how the server reaches what objects of the API name: webhooks of admission, conversion webhooks of
// custom resources, aggregated API servers. An address is a URL, or a Service, of which a ready endpoint is looked up in
// the store's snapshot ([Endpoints]) and dialled through the node's tunnel, so that it works on a server that runs no
// agent too.
//
// Whatever answers may be hostile: an answer is read up to a limit, is never unpacked, redirects are not followed, every
// Post has a deadline, and certificates are checked against the target's own bundle and name (<service>.<namespace>.svc).
//
// It never reads or writes objects other than Services and EndpointSlices, and starts no goroutine that outlives a call,
// except idle connections, which close by themselves. It keeps at most maxTransports transports; the one that was not
// used for the longest time goes first.
package outbound
