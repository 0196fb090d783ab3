// Package controller holds one package per controller, one table that lists them (package table) and one engine that runs them.
//
// A controller is a loop: observe one consistent snapshot, decide with a pure function, apply the plan in order and
// idempotently, report what is true now. The engine owns the goroutines, the queues, retries and back-off. No controller
// imports another; a controller is a client with the rights of a service account of its name.
//
// The engine ([Engine]): one watch feeds all queues, first with all that exists in one snapshot, then with every change
// after it. When the watch is cut off it begins again from a new snapshot. A worker goroutine exists only while there is
// a key for it; Run returns when the last one has ended.
package controller

import (
	"context"
	"time"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// Controller is one loop. Its fields are data, so that the engine and a reader can see what wakes what.
type Controller struct {
	// Name is its name in logs, and the service account it acts as, e.g. "deployment-controller".
	Name string
	// ServiceAccount is the account it acts as if that is not its Name: upstream's "node-controller" has several loops.
	ServiceAccount string
	// Inputs are the changes that wake it.
	Inputs []Input
	// Workers is how many keys are reconciled at once; default 1.
	Workers int
	// Resync, when not 0, reconciles the keys of Keys again at this interval. Avoid: idle means idle.
	Resync time.Duration
	// Reconcile brings one key to where it should be. An error is retried with back-off; Result.After asks for
	// another run at a time that is known (a deadline, a TTL).
	Reconcile func(ctx context.Context, c *client.Client, key string) (Result, error)
}

// Input maps the changes of a kind to keys to reconcile.
type Input struct {
	// Kind is an example object of the kind, e.g. &appsv1.Deployment{}. Nil means every kind (the garbage collector).
	Kind api.Object
	// Keys returns the keys an event touches; it may read the snapshot (to find the owner or the selectors that match).
	// At start the engine calls it with an Added event for each existing object.
	Keys func(s client.Snapshot, e *store.Event) []string
}

// Result of a Reconcile that went well.
type Result struct {
	// After, when not 0, asks to be run again for this key after that long.
	After time.Duration
}
