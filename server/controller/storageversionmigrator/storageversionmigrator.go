// Package storageversionmigrator answers StorageVersionMigrations: every object of a resource that was stored before the
// migration began, in another version or under another key than it would be stored now, is written again. For a custom
// resource the definition then says that no other version is stored.
package storageversionmigrator

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	// patience is how long a resource may be unknown: its definition may just have been made.
	patience = time.Minute

	reasonRunning   = "MigrationRunning"
	reasonSucceeded = "StorageVersionMigrationSucceeded"
	reasonFailed    = "StorageVersionMigrationFailed"
)

// New returns the controller; its keys are the names of StorageVersionMigrations.
func New(now func() time.Time) controller.Controller {
	l := loop{now}
	return controller.Controller{
		Name: "storage-version-migrator-controller",
		Inputs: []controller.Input{{Kind: &storagemigrationv1.StorageVersionMigration{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if e.Type == store.Deleted || ended(e.Object.(*storagemigrationv1.StorageVersionMigration)) {
				return nil
			}
			return []string{e.Object.GetName()}
		}}},
		Reconcile: l.reconcile,
	}
}

type loop struct{ now func() time.Time }

func ended(m *storagemigrationv1.StorageVersionMigration) bool {
	return meta.IsStatusConditionTrue(m.Status.Conditions, string(storagemigrationv1.MigrationSucceeded)) ||
		meta.IsStatusConditionTrue(m.Status.Conditions, string(storagemigrationv1.MigrationFailed))
}

func (l loop) reconcile(ctx context.Context, c *client.Client, name string) (controller.Result, error) {
	snap := c.Snapshot()
	m, ok := client.Get[*storagemigrationv1.StorageVersionMigration](snap, "", name)
	if !ok || m.DeletionTimestamp != nil || ended(m) {
		return controller.Result{}, nil
	}
	kind := kindOf(snap, m.Spec.Resource)
	if kind == nil {
		if wait := patience - l.now().Sub(m.CreationTimestamp.Time); wait > 0 {
			return controller.Result{After: min(wait, 5*time.Second)}, nil
		}
		return controller.Result{}, l.say(ctx, c, m, storagemigrationv1.MigrationFailed, reasonFailed, fmt.Sprintf("resource %s does not exist", m.Spec.Resource.String()))
	}
	if m.Status.ResourceVersion == "" {
		// What is younger than this needs no migration; it is written down, so that a restart does not begin again.
		next, err := client.Change(ctx, c, m, "status", func(m *storagemigrationv1.StorageVersionMigration) {
			m.Status.ResourceVersion = strconv.FormatInt(snap.Revision(), 10)
			l.set(m, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, reasonRunning, "The migration is running")
		})
		if err != nil {
			return controller.Result{}, err
		}
		m = next
	}
	upTo, err := strconv.ParseInt(m.Status.ResourceVersion, 10, 64)
	if err != nil {
		return controller.Result{}, l.say(ctx, c, m, storagemigrationv1.MigrationFailed, reasonFailed, fmt.Sprintf("resource version: %v", err))
	}
	n, err := c.Migrate(ctx, kind, upTo)
	if err != nil {
		return controller.Result{}, fmt.Errorf("migrate %s: %w", kind.GroupResource(), err)
	}
	if err := settleDefinition(ctx, c, kind); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{}, l.say(ctx, c, m, storagemigrationv1.MigrationSucceeded, reasonSucceeded, "Migration completed", n)
}

func kindOf(snap client.Snapshot, r metav1.GroupResource) *api.Kind {
	for _, k := range snap.Catalogue().Kinds() {
		if k.Group == r.Group && k.Plural == r.Resource && !k.Virtual {
			return k
		}
	}
	return nil
}

// settleDefinition: nothing is stored any more in other versions than that of now.
func settleDefinition(ctx context.Context, c *client.Client, kind *api.Kind) error {
	crd, ok := client.Get[*apiextensionsv1.CustomResourceDefinition](c.Snapshot(), "", kind.Plural+"."+kind.Group)
	if !ok {
		return nil
	}
	var stored []string
	for _, v := range crd.Spec.Versions {
		if v.Storage {
			stored = []string{v.Name}
		}
	}
	if slices.Equal(stored, crd.Status.StoredVersions) {
		return nil
	}
	_, err := client.Change(ctx, c, crd, "status", func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Status.StoredVersions = stored })
	return err
}

// say ends a migration. With a number it also says how many objects have been looked at.
func (l loop) say(ctx context.Context, c *client.Client, m *storagemigrationv1.StorageVersionMigration, how storagemigrationv1.MigrationConditionType, reason, message string, objects ...int) error {
	_, err := client.Change(ctx, c, m, "status", func(m *storagemigrationv1.StorageVersionMigration) {
		if len(objects) > 0 && objects[0] > 0 {
			l.set(m, storagemigrationv1.MigrationRunning, metav1.ConditionTrue, reasonRunning, fmt.Sprintf("The migration is running, %d objects verified migrated", objects[0]))
		}
		l.set(m, how, metav1.ConditionTrue, reason, message)
	})
	return err
}

func (l loop) set(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType, s metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{Type: string(t), Status: s, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(l.now())})
}
