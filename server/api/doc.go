// Package api is the catalogue: one file per kind, one table that lists them ([Catalogue]).
//
// It owns what is particular to a kind (defaults, validation, what a status update may touch, table columns,
// selectable fields) and nothing of how a kind is stored or served: it imports no other package of skiff, opens
// nothing, starts no goroutine and reads no clock. All funcs of a [Kind] are pure.
//
// Invariants: Versions[0] is the hub; kinds, plurals and prefixes are unique; every built-in hub type is
// registered in [Scheme]. A test walks the table and holds these. README.md says how to add a kind.
//
// Default never leaves a field that a second Default would change; no func keeps what it was given, and only
// Default and the Prepare funcs change it. What a subresource's Inject returns is already defaulted.
package api
