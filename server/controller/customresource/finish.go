package customresource

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
)

// deleteWorkers delete the objects of a definition at once: the store commits many writes with one fsync.
const deleteWorkers = 16

// finish deletes the objects of a definition that is being deleted, and lets it go when the last one is gone; the
// deletion of that wakes the loop again.
func finish(ctx context.Context, c *client.Client, d *definition, now metav1.Time) (controller.Result, error) {
	if !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		return controller.Result{}, nil
	}
	if !api.DefinitionIs(d, apiextensionsv1.Established) {
		return controller.Result{}, release(ctx, c, d, now, "NeverEstablished", "resource was never established")
	}
	k := kindOf(c, d)
	if k == nil {
		err := fmt.Errorf("unable to find a custom resource client for %s", d.Name)
		return controller.Result{}, errors.Join(err, say(ctx, c, d, now, "InstanceDeletionFailed", "could not list instances: "+err.Error()))
	}
	if c.Snapshot().Count(k, "") > 0 {
		if err := say(ctx, c, d, now, "InstanceDeletionInProgress", "CustomResource deletion is in progress"); err != nil {
			return controller.Result{}, err
		}
		if err := deleteAll(ctx, c, k); err != nil {
			return controller.Result{}, errors.Join(err, say(ctx, c, d, now, "InstanceDeletionFailed", "could not issue all deletes: "+err.Error()))
		}
	}
	if n := c.Snapshot().Count(k, ""); n > 0 {
		return controller.Result{}, say(ctx, c, d, now, "InstanceDeletionCheck", fmt.Sprintf("could not confirm zero CustomResources remaining: %d are waiting for their finalizers", n))
	}
	return controller.Result{}, release(ctx, c, d, now, "InstanceDeletionCompleted", "removed all instances")
}

func deleteAll(ctx context.Context, c *client.Client, k *api.Kind) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	work := make(chan api.Object)
	for range deleteWorkers {
		wg.Go(func() {
			for obj := range work {
				if err := c.DeleteNow(ctx, obj); err != nil {
					mu.Lock()
					first = err
					mu.Unlock()
				}
			}
		})
	}
	for obj := range c.Snapshot().Snapshot.List(k, "", "") {
		if obj.GetDeletionTimestamp() == nil {
			// By its name only: it may be stored in a version that the definition has no more.
			named := k.Hub().New()
			named.SetNamespace(obj.GetNamespace())
			named.SetName(obj.GetName())
			named.SetUID(obj.GetUID())
			work <- named
		}
	}
	close(work)
	wg.Wait()
	return first
}

// say sets the Terminating condition, if it is another one.
func say(ctx context.Context, c *client.Client, d *definition, now metav1.Time, reason, message string) error {
	return write(ctx, c, d, func(next *definition) bool {
		return api.SetDefinitionCondition(next, condition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: reason, Message: message}, now)
	})
}

// release takes the finalizer away. Upstream calls the definition terminating no more here, which can be seen only while
// another finalizer holds it; but it takes no objects then, and who asks for the condition must not have to be faster than this.
func release(ctx context.Context, c *client.Client, d *definition, now metav1.Time, reason, message string) error {
	return write(ctx, c, d, func(next *definition) bool {
		api.SetDefinitionCondition(next, condition{Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: reason, Message: message}, now)
		next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == apiextensionsv1.CustomResourceCleanupFinalizer })
		return true
	})
}

func write(ctx context.Context, c *client.Client, d *definition, change func(*definition) bool) error {
	if !change(d.DeepCopy()) {
		return nil
	}
	_, err := c.Mutate(ctx, d, "status", func(obj api.Object) error {
		change(obj.(*definition))
		return nil
	})
	return gone(err)
}
