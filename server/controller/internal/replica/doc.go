// Package replica is what ReplicaSets and ReplicationControllers share: keeping a number of pods of one template.
//
// decide is pure: the set and its pods in, a plan out (adopt, release, create, delete, status). There is no bookkeeping of
// expected creations: a write returns only when the store's cache has seen it, and one set is reconciled by one worker at a
// time, so the next snapshot holds what the last plan did.
package replica
