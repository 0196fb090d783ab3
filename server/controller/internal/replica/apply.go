package replica

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller/internal/claim"
)

// burst is how many pods one reconciliation creates or deletes at most; the rest follows in the next.
const burst = 500

// Apply carries a plan out. What it could not create or delete is told in reason (FailedCreate, FailedDelete) and the error.
func Apply(ctx context.Context, c *client.Client, set Set, p Plan) (reason string, err error) {
	if err := (claim.Claims[*corev1.Pod]{Adopt: p.Adopt, Release: p.Release}).Apply(ctx, c, set.Object, set.GVK); err != nil {
		return "", err
	}
	if err := SlowStart(min(p.Create, burst), func(int) error { return create(ctx, c, set) }); err != nil {
		return "FailedCreate", err
	}
	doomed := p.Delete[:min(len(p.Delete), burst)]
	if err := Parallel(len(doomed), func(i int) error { return remove(ctx, c, set, doomed[i]) }); err != nil {
		return "FailedDelete", err
	}
	return "", nil // what is beyond the burst follows when the events of these pods bring us back
}

// PodOf makes a pod of a template for its controller.
func PodOf(template *corev1.PodTemplateSpec, owner api.Object, ref metav1.OwnerReference) *corev1.Pod {
	t := template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: owner.GetNamespace(), GenerateName: owner.GetName() + "-",
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{ref},
		},
		Spec: t.Spec,
	}
}

func create(ctx context.Context, c *client.Client, set Set) error {
	pod, err := c.Create(ctx, PodOf(set.Template, set.Object, *metav1.NewControllerRef(set.Object, set.GVK)))
	switch {
	case err == nil:
		c.Event(set.Object, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", pod.GetName())
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // the set goes with its namespace
	default:
		c.Event(set.Object, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	}
	return err
}

func remove(ctx context.Context, c *client.Client, set Set, pod *corev1.Pod) error {
	if err := c.DeleteNow(ctx, pod); err != nil {
		c.Event(set.Object, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	c.Event(set.Object, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	return nil
}

// SlowStart runs do(0) … do(n-1), in batches of 1, 2, 4 …, and stops after the batch in which one fails: a quota that is used
// up costs one refused request and not a thousand.
func SlowStart(n int, do func(i int) error) error {
	for done, batch := 0, 1; done < n; batch *= 2 {
		size := min(batch, n-done)
		if err := Parallel(size, func(i int) error { return do(done + i) }); err != nil {
			return err
		}
		done += size
	}
	return nil
}

// Parallel runs do(0) … do(n-1), at most 16 at a time, and returns the first error.
func Parallel(n int, do func(i int) error) error {
	errs := make([]error, n)
	slots := make(chan struct{}, 16)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = do(i)
			<-slots
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
