// Package store keeps all objects: etcd below, a watch cache above. It is the only package that knows etcd.
//
// # What it owns
//
// The embedded etcd member, the keys, the encoding of objects in etcd (protobuf with the "k8s\x00" envelope for
// built-in kinds, JSON for custom ones, as upstream stores them; package encrypt may seal them), transactions, and the one decoded copy of every
// object that HTTP, controllers and the scheduler all read.
//
// # Keys
//
//	/registry/pods/<namespace>/<name>            Kind.Prefix + "/" + Kind.Key(namespace, name)
//	/registry/services/specs/<namespace>/<name>
//	/registry/minions/<name>
//
// # The cache
//
// One goroutine applies etcd's events in order to one persistent (copy-on-write) tree a kind and publishes the new
// root with its revision atomically, so [Store.Snapshot] is O(1), spans all kinds at one revision and never blocks a
// writer. A write returns only when the published root has reached its revision (read your own writes). Revisions
// are etcd's; the cache never invents one. What came out of the cache is shared: never change it.
//
// # Watches
//
// A watch starts from any revision: from the ring of recent events, else by replaying etcd's own history, else
// [ErrCompacted]. Every watcher sees the same order. A watcher that does not read is cut off with [ErrSlow], not
// buffered for ever. An event is encoded once per media type ([Event.Encoded]), however many watchers receive it.
//
// # Goroutines
//
// Run is the applier: it opens etcd, follows one watch on /registry/, and is the only one that changes the cache. Beside
// it there is the compactor, one goroutine per [Watch], and etcd's own. Readers and writers run on their callers'.
//
// # Paging
//
// [Store.SnapshotAt] finds a state again: the current one, one that was kept by [Store.Hold], the current one with newer
// events undone (as far as the ring reaches), or read back from etcd.
//
// # When etcd is slow or has no quorum
//
// Reads go on from the cache; writes fail with [ErrUnavailable] after their deadline; the process never exits for it.
// What etcd calls fatal ends this member only, and Run opens it again.
//
// # Before etcd is opened
//
// inspect looks at the files, judge (pure) says whether etcd may open them, prepare does it: nothing is begun anew where there were data
// (Config.Mark), what is damaged is kept aside, and [DamageError] says what was found, what is lost and how to go on.
//
// The law of this package is the suite in storetest.
package store
