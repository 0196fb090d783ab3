// Package fields says of every field of the API that a pod, a Service or a claim is described with what becomes of it: nothing that a user
// writes is ignored without a word.
//
// # The table
//
// table.txt lists the fields of PodSpec, ServiceSpec and PersistentVolumeClaimSpec and of everything below them, by Go type and JSON
// name, one a line, with one of these words:
//
//	honoured <folder> …         code there acts on it (or a library that it calls: "via" and the import path)
//	refused <folder>: <how>     who uses it hears why not
//	harmless: <why>             there is nothing to do about it
//	dropped <feature gate>      the gate is off by default upstream, where the API server removes the field, as this one does; a warning says so
//	later: <text>               it is kept, nothing acts on it yet, and a warning says so; "later =Value: <text>" only for this value
//
// A type that is refused or harmless as a whole has the one row "*". kinds at the end of the table are whole kinds of which nothing acts
// on the objects yet: one line there is the warning on create and the event on the object, and is removed when the work is done.
//
// The tests walk the API's types by reflection and fail for a field without a row and for a row without a field, so a new version of the
// API cannot slip through; and they look for the Go field's name in the source of each folder that a row names.
//
// # What uses it
//
// The registry calls [Drop] and [Warnings] on the way in, the controller notacted records the events. Both look only where the type of an
// object has such fields at all: a pod costs a dozen nil checks.
package fields
