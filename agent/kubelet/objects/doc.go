// Package objects keeps the ConfigMaps and Secrets that this node's pods refer to, and the tokens of their service
// accounts. One watch a referenced object, shared by all pods that refer to it; immutable objects are not watched. Nothing
// polls. A change wakes the pods that refer to it.
//
// What was last known is kept on disk, readable by root only, so that a node which reboots while it reaches no server can
// start its pods again:
//
//	<dir>/configmap/<namespace>/<name>.json
//	<dir>/secret/<namespace>/<name>.json
//	<dir>/token/<pod uid>/<hash>.json
//
// Goroutines: one for each referenced object; they end with the context of Run.
package objects
