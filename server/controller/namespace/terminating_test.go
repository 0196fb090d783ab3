package namespace_test

import (
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/cronjob"
	"codeberg.org/skiff/skiff/server/controller/daemonset"
	"codeberg.org/skiff/skiff/server/controller/deployment"
	"codeberg.org/skiff/skiff/server/controller/endpoints"
	"codeberg.org/skiff/skiff/server/controller/endpointslice"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/job"
	"codeberg.org/skiff/skiff/server/controller/replicaset"
	"codeberg.org/skiff/skiff/server/controller/replication"
	"codeberg.org/skiff/skiff/server/controller/rootca"
	"codeberg.org/skiff/skiff/server/controller/serviceaccount"
	"codeberg.org/skiff/skiff/server/controller/statefulset"
	"codeberg.org/skiff/skiff/server/registry"
)

// While a namespace is being terminated its objects go one after the other, and each that goes wakes the loops that want it back. None of
// them makes a request that can only be refused, and none goes on failing.
func TestNobodyCreatesInATerminatingNamespace(t *testing.T) {
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{deployment.New(now), replicaset.New(now), replication.New(now), statefulset.New(now), daemonset.New(now), job.New(now), cronjob.New(now),
			endpointslice.New(), endpoints.New(), serviceaccount.New(), rootca.New([]byte("bundle"))}
	})
	var creates, refused atomic.Int32
	w.Client = w.Client.WithAudit(func(verb string, req registry.Request, err error) {
		if verb == "create" && req.Namespace == "x" {
			creates.Add(1)
			if err != nil {
				refused.Add(1)
			}
		}
	})
	w.Advance(0) // the engine takes the new client
	w.Node("n")
	ns := Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x", Finalizers: []string{"example.com/hold"}}})
	w.Settle()
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "x", Name: name} }
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	three := int32(3)
	Create(w, &appsv1.Deployment{ObjectMeta: meta("d"), Spec: appsv1.DeploymentSpec{Replicas: &three, Selector: selector("d"), Template: Template("d")}})
	Create(w, &appsv1.StatefulSet{ObjectMeta: meta("s"), Spec: appsv1.StatefulSetSpec{Replicas: &three, ServiceName: "s", Selector: selector("s"), Template: Template("s"),
		PodManagementPolicy: appsv1.ParallelPodManagement}})
	Create(w, &appsv1.DaemonSet{ObjectMeta: meta("ds"), Spec: appsv1.DaemonSetSpec{Selector: selector("ds"), Template: Template("ds")}})
	rc := Template("rc")
	Create(w, &corev1.ReplicationController{ObjectMeta: meta("rc"), Spec: corev1.ReplicationControllerSpec{Replicas: &three, Selector: map[string]string{"app": "rc"}, Template: &rc}})
	once := Template("j")
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	Create(w, &batchv1.Job{ObjectMeta: meta("j"), Spec: batchv1.JobSpec{Template: once}})
	Create(w, &batchv1.CronJob{ObjectMeta: meta("c"), Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: once}}}})
	Create(w, &corev1.Service{ObjectMeta: meta("svc"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "d"}, Ports: []corev1.ServicePort{{Port: 80}}}})
	w.Settle()

	w.Delete(ns, "") // no namespace controller runs: it stays
	w.Settle()
	creates.Store(0)
	w.Settle()
	snap := w.Client.Snapshot()
	for _, kind := range w.Catalogue.Kinds() {
		switch kind.Kind {
		case "Pod", "ReplicaSet", "ControllerRevision", "EndpointSlice", "Endpoints", "ServiceAccount", "ConfigMap", "Job":
			for obj := range snap.Snapshot.List(kind, "x", "") {
				w.Delete(obj, metav1.DeletePropagationBackground)
			}
		}
	}
	w.Reap()
	w.Advance(2 * time.Minute) // the cron job is due
	w.Settle()
	if creates.Load() != 0 || refused.Load() != 0 {
		t.Errorf("%d creations were asked for while the namespace was terminating, %d were refused", creates.Load(), refused.Load())
	}
	w.Idle()
}
