// Package managedfields records who set which field of an object, in metadata.managedFields, and merges what is applied.
//
// It gives the same answers as apimachinery's field manager, which a test holds it to, but goes a shorter way for the
// writes that are nearly all there is: a new object, and an update in the version whose fields are managed already.
// There it does not validate typed objects against their own schema, does not touch the entries of managers that an
// update takes nothing from, and notices an update that changes nothing. Everything else (several versions, more than
// ten managers, entries written by hand) goes to apimachinery's.
//
// It starts no goroutine, reads no clock but in Apply (apimachinery's does), and changes only the object it is given.
// The schema of the built-in kinds comes from client-go's apply configurations; it is parsed on first use (see Warm).
package managedfields
