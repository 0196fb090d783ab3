// Package registry is the one way in, for every verb on every kind: defaulting, admission, validation, storage.
// HTTP requests and in-process controllers go through the same methods. It knows no HTTP.
//
// The way of a write:
//
//	decode (caller) → default → prepare → admission, mutating → validate → admission, validating → store (CAS, retried)
//
// All objects that cross this package's border are hub objects (api.Kind.Versions[0]); conversion to other versions is
// the caller's. Errors are *apierrors.StatusError with the reason, message, details and causes of upstream.
package registry
