package controllertest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"codeberg.org/skiff/skiff/server/controller"
)

// ForeignGroup is the group version of the API server that Foreign is; it serves the resource widgets.
var ForeignGroup = schema.GroupVersion{Group: "far.example.com", Version: "v1"}

// Foreign is an aggregated API server with a few objects in memory.
type Foreign struct {
	*httptest.Server
	mu sync.Mutex
	// objects by path, e.g. /apis/far.example.com/v1/namespaces/x/widgets/a.
	objects map[string]*metav1.PartialObjectMetadata
	verbs   []string
	down    bool
}

// NewForeign serves until the test ends. Without verbs it has all of them.
func NewForeign(t testing.TB, verbs ...string) *Foreign {
	if len(verbs) == 0 {
		verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	}
	f := &Foreign{objects: map[string]*metav1.PartialObjectMetadata{}, verbs: verbs}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// APIService makes the group version known.
func (f *Foreign) APIService() *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: ForeignGroup.Version + "." + ForeignGroup.Group}, Spec: apiregistrationv1.APIServiceSpec{
		Group: ForeignGroup.Group, Version: ForeignGroup.Version, GroupPriorityMinimum: 100, VersionPriority: 100, InsecureSkipTLSVerify: true,
		Service: &apiregistrationv1.ServiceReference{Namespace: Namespace, Name: "far", Port: ptr.To[int32](443)}}}
}

// Down tells whether the server is known not to answer.
func (f *Foreign) Down(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

// Resources implements controller.Foreign.
func (f *Foreign) Resources() ([]controller.ForeignResource, []schema.GroupVersion) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, []schema.GroupVersion{ForeignGroup}
	}
	return []controller.ForeignResource{{GroupVersionResource: ForeignGroup.WithResource("widgets"), Kind: "Widget", Namespaced: true, Verbs: f.verbs}}, nil
}

// Metadata implements controller.Foreign.
func (f *Foreign) Metadata(string) (metadata.Interface, error) {
	return metadata.NewForConfig(&rest.Config{Host: f.URL, QPS: -1})
}

func widgetPath(namespace, name string) string {
	return "/apis/" + ForeignGroup.String() + "/namespaces/" + namespace + "/widgets/" + name
}

// Create a widget.
func (f *Foreign) Create(namespace, name string, owners ...metav1.OwnerReference) *metav1.PartialObjectMetadata {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: ForeignGroup.String(), Kind: "Widget"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name), ResourceVersion: "1", CreationTimestamp: metav1.NewTime(time.Unix(1, 0)), OwnerReferences: owners}}
	f.objects[widgetPath(namespace, name)] = w
	return w
}

// Get a widget; nil if there is none.
func (f *Foreign) Get(namespace, name string) *metav1.PartialObjectMetadata {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[widgetPath(namespace, name)]
}

// Remove a widget.
func (f *Foreign) Remove(namespace, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.objects, widgetPath(namespace, name))
}

func (f *Foreign) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/widgets") {
		f.collection(w, r)
		return
	}
	obj := f.objects[r.URL.Path]
	if obj == nil {
		answer(w, 404, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: 404})
		return
	}
	switch r.Method {
	case http.MethodDelete:
		delete(f.objects, r.URL.Path)
	case http.MethodPatch:
		next := obj.DeepCopy()
		next.OwnerReferences, next.Finalizers = nil, nil // a merge patch replaces lists
		if err := json.NewDecoder(r.Body).Decode(next); err != nil {
			answer(w, 400, err.Error())
			return
		}
		obj = next
		f.objects[r.URL.Path] = next
	}
	answer(w, 200, obj)
}

// collection serves all widgets, or those of a namespace.
func (f *Foreign) collection(w http.ResponseWriter, r *http.Request) {
	list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: ForeignGroup.String(), Kind: "WidgetList"}}
	_, namespaced := strings.CutPrefix(r.URL.Path, "/apis/"+ForeignGroup.String()+"/namespaces/")
	for path, obj := range f.objects {
		if namespaced && !strings.HasPrefix(path, r.URL.Path+"/") {
			continue
		}
		if r.Method == http.MethodDelete {
			if len(obj.Finalizers) == 0 {
				delete(f.objects, path)
			}
			continue
		}
		list.Items = append(list.Items, *obj)
	}
	answer(w, 200, list)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
