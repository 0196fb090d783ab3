package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// deployment is a manifest of the example web server.
func deployment(name string, replicas int) string {
	return fmt.Sprintf(`
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, labels: {app: %[1]s}}
spec:
  replicas: %[2]d
  selector: {matchLabels: {app: %[1]s}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: %[3]s
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, timeoutSeconds: 30, periodSeconds: 1}
`, name, replicas, webV1)
}

// TestRollout goes through the life of a Deployment as a user does.
func TestRollout(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 2))
	s.contains("status", s.kubectl("rollout", "status", "deployment/web", inTime), "successfully rolled out")
	s.contains("apply again", func() string { out, _ := s.input(deployment("web", 2), "apply", "-f", "-"); return out }(), "deployment.apps/web unchanged")

	s.kubectl("scale", "deployment/web", "--replicas=4")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.equal("ready", s.get("deployment/web", ".status.readyReplicas"), "4")

	s.kubectl("set", "image", "deployment/web", "web="+webV2)
	s.kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=version two")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.equal("image", s.get("deployment/web", ".spec.template.spec.containers[0].image"), webV2)
	s.contains("history", s.kubectl("rollout", "history", "deployment/web"), "REVISION", "1", "2", "version two")
	s.contains("revision", s.kubectl("rollout", "history", "deployment/web", "--revision=1"), webV1)

	s.kubectl("rollout", "undo", "deployment/web")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.equal("image after undo", s.get("deployment/web", ".spec.template.spec.containers[0].image"), webV1)

	before := s.get("pods", ".items[*].metadata.uid")
	s.kubectl("rollout", "restart", "deployment/web")
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.eventually("all pods are new", func() error {
		now := s.get("pods", ".items[*].metadata.uid")
		for _, uid := range strings.Fields(before) {
			if strings.Contains(now, uid) {
				return fmt.Errorf("%s is still there", uid)
			}
		}
		return nil
	})

	s.kubectl("rollout", "pause", "deployment/web")
	s.kubectl("set", "image", "deployment/web", "web="+webV2)
	s.kubectl("rollout", "resume", "deployment/web")
	s.kubectl("rollout", "status", "deployment/web", inTime)
}

// TestBadRollout: an image that does not exist stops the rollout; the old pods go on.
func TestBadRollout(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 2))
	s.kubectl("rollout", "status", "deployment/web", inTime)
	s.kubectl("patch", "deployment/web", "-p", `{"spec":{"progressDeadlineSeconds":3}}`)
	s.kubectl("set", "image", "deployment/web", "web=192.168.77.254:1/none:v1")
	s.refused([]string{"rollout", "status", "deployment/web", inTime}, "exceeded its progress deadline")
	s.equal("ready", s.get("deployment/web", ".status.readyReplicas"), "2")
	s.kubectl("rollout", "undo", "deployment/web")
	s.kubectl("rollout", "status", "deployment/web", inTime)
}

// TestReplaced: a deleted pod is replaced; one that loses its label is let go and replaced; one that gets it back is taken back.
func TestReplaced(t *testing.T) {
	s := newSpace(t)
	s.apply(deployment("web", 2))
	s.kubectl("rollout", "status", "deployment/web", inTime)
	names := strings.Fields(s.get("pods", ".items[*].metadata.name"))
	s.kubectl("delete", "pod", names[0])
	s.becomes("deployment/web", ".status.readyReplicas", "2")
	s.kubectl("label", "pod", names[1], "app=freed", "--overwrite")
	s.eventually("let go", func() error {
		if owner := s.get("pod/"+names[1], ".metadata.ownerReferences"); owner != "" {
			return fmt.Errorf("owner %s", owner)
		}
		if n := len(strings.Fields(s.kubectl("get", "pods", "-l", "app=web", "-o", "name"))); n != 2 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
	s.kubectl("label", "pod", names[1], "app=web", "--overwrite")
	s.eventually("taken back, one too many ended", func() error {
		if n := len(strings.Fields(s.kubectl("get", "pods", "-l", "app=web", "-o", "name"))); n != 2 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
}

// TestCascade: what happens to the pods of a deleted Deployment.
func TestCascade(t *testing.T) {
	s := newSpace(t)
	for _, name := range []string{"background", "foreground", "orphan"} {
		s.apply(deployment(name, 1))
	}
	for _, name := range []string{"background", "foreground", "orphan"} {
		s.kubectl("rollout", "status", "deployment/"+name, inTime)
		s.kubectl("delete", "deployment", name, "--cascade="+name)
	}
	s.equal("foreground waits for all", s.kubectl("get", "rs,pods", "-l", "app=foreground", "-o", "name"), "")
	s.eventually("background", func() error {
		if left := s.kubectl("get", "rs,pods", "-l", "app=background", "-o", "name"); left != "" {
			return fmt.Errorf("left: %s", left)
		}
		return nil
	})
	s.contains("orphans", s.kubectl("get", "rs,pods", "-l", "app=orphan", "-o", "name"), "replicaset.apps/orphan-", "pod/orphan-")
	s.equal("no owner", s.kubectl("get", "rs", "-l", "app=orphan", "-o", "jsonpath={.items[*].metadata.ownerReferences}"), "")

	// An equal Deployment takes them back.
	uid := s.kubectl("get", "pods", "-l", "app=orphan", "-o", "jsonpath={.items[*].metadata.uid}")
	s.apply(deployment("orphan", 1))
	s.kubectl("rollout", "status", "deployment/orphan", inTime)
	s.equal("the adopted pod", s.kubectl("get", "pods", "-l", "app=orphan", "-o", "jsonpath={.items[*].metadata.uid}"), uid)
}

// TestGrace: how long a pod that ignores SIGTERM is waited for.
func TestGrace(t *testing.T) {
	s := newSpace(t)
	stubborn := strings.ReplaceAll(shell("a", "trap '' TERM; while :; do sleep 1; done"), "terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 600")
	s.apply(stubborn + strings.ReplaceAll(stubborn, "name: a,", "name: b,") + strings.ReplaceAll(stubborn, "name: a,", "name: c,"))
	s.ready("a", "b", "c")
	start := time.Now()
	s.kubectl("delete", "pod", "a", "--grace-period=2")
	if took := time.Since(start); took < 1900*time.Millisecond || took > 2*time.Minute {
		t.Errorf("deleted after %v, want 2 s", took)
	}
	s.kubectl("delete", "pod", "b", "--now")
	start = time.Now()
	s.contains("force", s.kubectl("delete", "pod", "c", "--force", "--grace-period=0"), "force")
	if took := time.Since(start); took > time.Minute {
		t.Errorf("forced after %v", took)
	}
}

// TestRunExposeCreate makes things without manifests.
func TestRunExposeCreate(t *testing.T) {
	s := newSpace(t)
	s.kubectl("run", "web", "--image="+webV1, "--port=8080", "--labels=app=web")
	s.ready("web")
	s.kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
	ip := s.get("service/web", ".spec.clusterIP")
	s.eventually("the Service answers", func() error { _, err := s.curl("http://" + ip); return err })
	s.kubectl("create", "deployment", "d", "--image="+webV1, "--replicas=1", "--port=8080")
	s.kubectl("create", "configmap", "c", "--from-literal=a=b")
	s.kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
	s.kubectl("create", "job", "j", "--image="+busybox, "--", "true")
	s.kubectl("wait", "--for=condition=complete", "job/j", inTime)
	s.kubectl("wait", "--for=condition=available", "deployment/d", inTime)
	s.kubectl("wait", "--for=jsonpath={.data.a}=b", "configmap/c", "--timeout=5s")
	s.refused([]string{"wait", "--for=condition=complete", "deployment/d", "--timeout=1s"}, "timed out waiting for the condition")

	out, err := s.input("hello\n", "run", "once", "--rm", "-i", "--restart=Never", "--image="+busybox, "--", "sh", "-c", "read x; echo got $x")
	if err != nil {
		t.Fatal(err)
	}
	s.contains("run -i", out, "got hello")
	s.kubectl("delete", "pod,deployment,configmap,secret,job,service", "--all", "--wait=false")
}

// TestUnschedulable says why, and the pod runs as soon as it can.
func TestUnschedulable(t *testing.T) {
	s := newSpace(t)
	s.apply(strings.ReplaceAll(shell("picky", sleeper), "restartPolicy: Never", "nodeSelector: {e2e/"+s.name+": 'yes'}\n  restartPolicy: Never"))
	s.eventually("event", func() error {
		out := s.kubectl("events", "--for", "pod/picky")
		if !strings.Contains(out, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	s.kubectl("label", "node", "n1", "e2e/"+s.name+"=yes")
	defer s.kubectl("label", "node", "n1", "e2e/"+s.name+"-")
	s.ready("picky")
}

// TestWatchReplays: a watch from a revision sees every change in order; one from a revision that is compacted gets 410.
func TestWatchReplays(t *testing.T) {
	s := newSpace(t)
	maps := s.client.CoreV1().ConfigMaps(s.name)
	c, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	from := c.ResourceVersion
	for i := range 20 {
		c.Data = map[string]string{"n": fmt.Sprint(i)}
		if c, err = maps.Update(t.Context(), c, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: from, FieldSelector: "metadata.name=c"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for i := range 20 {
		e, ok := <-w.ResultChan()
		if !ok {
			t.Fatalf("the watch ended after %d changes", i)
		}
		if n := e.Object.(*corev1.ConfigMap).Data["n"]; n != fmt.Sprint(i) {
			t.Fatalf("change %d is %s", i, n)
		}
	}
	stale := c.DeepCopy()
	stale.ResourceVersion = from
	if _, err := maps.Update(t.Context(), stale, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "the object has been modified; please apply your changes to the latest version and try again") {
		t.Errorf("a stale update: %v", err)
	}
}
