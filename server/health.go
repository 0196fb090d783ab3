package server

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/client"
)

// bootstrapped are the checks of upstream's hooks after start whose work bootstrap does.
var bootstrapped = []string{
	"poststarthook/bootstrap-controller", "poststarthook/priority-and-fairness-config-producer", "poststarthook/rbac/bootstrap-roles",
	"poststarthook/scheduling/bootstrap-system-priority-classes", "poststarthook/start-system-namespaces-controller",
}

// defined are those whose work the room of custom kinds does.
var defined = []string{"poststarthook/crd-informer-synced", "poststarthook/start-apiextensions-controllers", "poststarthook/start-apiextensions-informers"}

// checks are the server's health checks beside those of the API server itself.
func (s *Server) checks() []apiserver.Check {
	var all []apiserver.Check
	add := func(names []string, done <-chan struct{}, what string) {
		for _, name := range names {
			all = append(all, apiserver.Check{Name: name, Run: func() error {
				select {
				case <-done:
					return nil
				default:
					return errors.New(what)
				}
			}})
		}
	}
	add(bootstrapped, s.ready, "the cluster's first objects are not there yet")
	add(defined, s.definitions.Synced(), "custom kinds are not served yet")
	all = append(all, s.encryptionChecks()...)
	return append(all, apiserver.Check{Name: "default-namespace", ReadyOnly: true, Run: s.checkNamespaces})
}

// checkNamespaces: who may be sent here needs the namespaces that are always there.
func (s *Server) checkNamespaces() error {
	if s.client == nil {
		return errors.New("the server is being put together")
	}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem} {
		if _, ok := client.Get[*corev1.Namespace](s.client.Snapshot(), "", name); !ok {
			return fmt.Errorf("namespace %s does not exist", name)
		}
	}
	return nil
}

// loopChecks are the controllers and the scheduler, each by its name. Without them the API is still of use, so they do not make it unready.
func (s *Server) loopChecks() []apiserver.Check {
	if s.engine == nil || s.scheduler == nil {
		return nil
	}
	var all []apiserver.Check
	add := func(name string, err error) {
		select {
		case <-s.ready:
		default:
			err = nil // they are started last; until then their hooks are what is missing
		}
		all = append(all, apiserver.Check{Name: name, NotReady: true, Run: func() error { return err }})
	}
	alive := s.engine.Alive()
	for _, name := range slices.Sorted(maps.Keys(alive)) {
		add("controller/"+name, alive[name])
	}
	if !s.cfg.DisableScheduler {
		add("scheduler", s.scheduler.Alive())
	}
	return all
}

// logs is the folder that /logs shows; a link in it that leads out of it is not followed.
func (s *Server) openLogs() {
	root, err := os.OpenRoot(s.cfg.Paths.Log)
	if err != nil {
		s.cfg.Log.Debug("/logs is not served", "error", err)
		return
	}
	s.logs = root.FS()
}
