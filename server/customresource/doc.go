// Package customresource makes kinds of CustomResourceDefinitions while the server runs, and keeps the catalogue and the
// store in step with the definitions that are stored.
//
// [New] makes a definition's *api.Kind: a pure function, whose kind reads no clock and no store, and reaches the network
// only through the conversion webhook that the definition names. Objects are unstructured.Unstructured. They are held in
// the version in which they were stored; what comes in through a version is pruned, defaulted and validated by that
// version's schema, and converted to the stored version last (see api.Kind.Convert).
//
//	kind.go      names, versions, subresources: the entry of the catalogue
//	schema.go    pruning, coercing and defaulting by a structural schema
//	strategy.go  what happens to an object that comes in; its validation, also by CEL
//	status.go, scale.go, column.go, path.go   subresources, tables and selectable fields
//	convert.go, webhook.go                    between versions
//	publish.go   the OpenAPI schema
//	definitions.go  [Definitions]: the loop
//
// [Definitions] has one goroutine, Run's, which follows the stored definitions on every server. A definition is served
// once its names are accepted, and until it is gone. When its spec or its names change, a new kind replaces the old one
// at once, in the catalogue and in the store, and the watches of the old one end: clients begin new ones.
//
// Invariant: what a kind keeps is bounded by its definition. Validators and CEL programs are made at the first write, for
// most definitions of a cluster are never used by anybody.
package customresource
