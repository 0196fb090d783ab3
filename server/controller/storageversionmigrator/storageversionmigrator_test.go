package storageversionmigrator_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/storageversionmigrator"
)

func migration(name, resource string) *storagemigrationv1.StorageVersionMigration {
	return &storagemigrationv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Resource: resource}}}
}

func ends(w *World, m *storagemigrationv1.StorageVersionMigration, how string) {
	w.T.Helper()
	w.Eventually(func() string {
		if c := Get(w, m).Status.Conditions; !meta.IsStatusConditionTrue(c, how) {
			return fmt.Sprintf("it has not %s: %+v", how, c)
		}
		return ""
	})
}

func TestAMigrationLooksAtEverything(t *testing.T) {
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{storageversionmigrator.New(now)}
	})
	for i := range 20 {
		Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: fmt.Sprint("c", i)}, Data: map[string]string{"a": "b"}})
	}
	m := Create(w, migration("m", "configmaps"))
	ends(w, m, "Succeeded")
	if c := meta.FindStatusCondition(Get(w, m).Status.Conditions, "Running"); c == nil || c.Message != "The migration is running, 20 objects verified migrated" {
		t.Errorf("it says %+v", c)
	}
	w.Idle()
}

func TestAnUnknownResourceFailsInTheEnd(t *testing.T) {
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{storageversionmigrator.New(now)}
	})
	m := Create(w, migration("m", "wishes"))
	w.Settle()
	if len(Get(w, m).Status.Conditions) > 0 {
		t.Error("it lost patience too early")
	}
	w.Advance(2 * time.Minute)
	ends(w, m, "Failed")
	w.Idle()
}
