// Package podcertificatecleaner deletes requests for pod certificates that are older than any way to a certificate takes, as
// upstream does; kubelets that still want one ask again.
package podcertificatecleaner

import (
	"context"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// keptFor is upstream's threshold.
const keptFor = 15 * time.Minute

// New returns the controller; its keys are "namespace/name" of requests.
func New(now func() time.Time) controller.Controller {
	return controller.Controller{
		Name: "podcertificaterequestcleaner",
		Inputs: []controller.Input{{Kind: &certificatesv1.PodCertificateRequest{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if e.Type != store.Added {
				return nil
			}
			return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			namespace, name, _ := strings.Cut(key, "/")
			r, ok := client.Get[*certificatesv1.PodCertificateRequest](c.Snapshot(), namespace, name)
			if !ok || r.DeletionTimestamp != nil {
				return controller.Result{}, nil
			}
			p := decide(r, now())
			if !p.remove {
				return controller.Result{After: p.wait}, nil
			}
			return controller.Result{}, c.DeleteNow(ctx, r)
		},
	}
}

// plan is what to do about a request: delete it, or look again later.
type plan struct {
	remove bool
	wait   time.Duration
}

func (p plan) String() string {
	if p.remove {
		return "delete\n"
	}
	return "look again in " + p.wait.String() + "\n"
}

func decide(r *certificatesv1.PodCertificateRequest, now time.Time) plan {
	if wait := r.CreationTimestamp.Add(keptFor).Sub(now); wait > 0 {
		return plan{wait: wait}
	}
	return plan{remove: true}
}
