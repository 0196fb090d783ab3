// Package audit writes down who did what: events of audit.k8s.io/v1, chosen by a policy file, to a log that rotates and to a
// webhook.
//
// # The way of an event
//
//	Begin ─▶ the policy gives the request a level; none: a nil Record, whose methods do nothing
//	  RequestReceived ─▶ (ResponseStarted, of streams) ─▶ ResponseComplete, or Panic
//	each stage that is not omitted is encoded on the request's goroutine and handed to every sink
//
// # When the disk is slow or full
//
// By default (batch) a sink has a queue that is bounded in bytes, and one goroutine that writes it out; what does not fit is
// dropped and counted (apiserver_audit_error_total). In the mode blocking a request waits for its line; in blocking-strict it
// is refused when its first line cannot be written.
//
// # Lines
//
// A line is written by one write to a file opened for appending, so it is whole or, after a power cut, the last one; a file
// that does not end with a line end gets one before anything else is written.
//
// # Goroutines
//
// Run has one for each sink and returns when they have written what was queued. New starts nothing.
//
// The package must never change what it is given, nor put an Authorization header into an event.
package audit
