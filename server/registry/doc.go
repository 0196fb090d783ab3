// Package registry is the one way in, for every verb on every kind: defaulting, admission, validation, storage.
// HTTP requests and in-process controllers go through the same methods. It knows no HTTP.
//
// The way of a write:
//
//	decode (caller) → metadata → default → managedFields → admission, mutating → prepare → validate
//	→ admission, validating → store (compare and swap, retried)
//
// Preparing comes after mutating admission, so that what it derives (a pod's QoS class, a generation) is derived from
// what is stored.
//
// All objects that cross this package's border are hub objects (api.Kind.Versions[0]); conversion to other versions is
// the caller's. Typed objects in memory carry no TypeMeta: whoever encodes them adds it. Errors are
// *apierrors.StatusError with the reason, message, details and causes of upstream.
//
// It starts no goroutine of its own except the workers of
// DeleteCollection, which end before it returns. It keeps no state: everything is in the store.
//
// Beside it: managedfields (who set which field), patch (bodies to Transforms), admission (the plugins and their order),
// action (binding, eviction, tokens).
package registry
