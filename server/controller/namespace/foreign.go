package namespace

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller"
)

// foreignRecheck is how often other servers are asked whether what they keep is gone; nothing else tells.
const foreignRecheck = 3 * time.Second

// emptyForeign deletes what other API servers keep in the namespace, and returns what is left. undiscovered is an error
// when some of them did not say what they keep.
func emptyForeign(ctx context.Context, foreign controller.Foreign, namespace string) (left []content, undiscovered, failed error) {
	served, missing := foreign.Resources()
	undiscovered = notDiscovered(missing)
	if len(served) == 0 {
		return nil, undiscovered, nil
	}
	c, err := foreign.Metadata(name)
	if err != nil {
		return nil, undiscovered, err
	}
	for i := range served {
		r := &served[i]
		if !r.Namespaced || !r.Can("delete") {
			continue
		}
		objects, err := empty(ctx, c.Resource(r.GroupVersionResource).Namespace(namespace), r)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", r.GroupResource(), err))
		}
		if len(objects) > 0 {
			left = append(left, content{resource: r.GroupResource(), objects: objects})
		}
	}
	return left, undiscovered, failed
}

// empty deletes all objects of one resource, at once if it can, and returns those that are left.
func empty(ctx context.Context, c metadata.ResourceInterface, r *controller.ForeignResource) (left []api.Object, err error) {
	policy := metav1.DeletePropagationBackground
	opts := metav1.DeleteOptions{PropagationPolicy: &policy}
	if r.Can("deletecollection") {
		if err := c.DeleteCollection(ctx, opts, metav1.ListOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsMethodNotSupported(err) {
			return nil, err
		}
	}
	if !r.Can("list") {
		return nil, nil
	}
	list, err := c.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp != nil || r.Can("deletecollection") {
			continue
		}
		if err := c.Delete(ctx, list.Items[i].Name, opts); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	if !r.Can("deletecollection") {
		if list, err = c.List(ctx, metav1.ListOptions{}); err != nil {
			return nil, err
		}
	}
	for i := range list.Items {
		left = append(left, &list.Items[i])
	}
	return left, nil
}

// notDiscovered is upstream's message.
func notDiscovered(missing []schema.GroupVersion) error {
	if len(missing) == 0 {
		return nil
	}
	var texts []string
	for _, gv := range missing {
		texts = append(texts, fmt.Sprintf("%s: stale GroupVersion discovery: %s", gv, gv))
	}
	return fmt.Errorf("%d failing: unable to retrieve the complete list of server APIs: %s",
		len(missing), strings.Join(texts, ", "))
}
