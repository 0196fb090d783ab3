package apiserver

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
)

// beginAudit asks the audit policy about a request whose user is known (nil: could not be authenticated).
func (s *Server) beginAudit(w *response, r *http.Request, p *path, u user.Info) error {
	if s.cfg.Audit == nil {
		return nil
	}
	a := attributes(r, p, u)
	rec, err := s.cfg.Audit.Begin(&audit.Request{
		ID: w.Header().Get("Audit-Id"), User: u, Verb: a.Verb, URI: r.URL.RequestURI(), Path: a.Path,
		Group: a.Group, Version: a.Version, Resource: a.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name,
		SourceIPs: audit.SourceIPs(r), UserAgent: audit.UserAgent(r), Received: s.cfg.Now(),
	})
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	w.audit, w.auditStart = rec, longRunning(p)
	return nil
}

// auditDecision notes what the authorizers said.
func auditDecision(rec *audit.Record, decision authz.Decision, reason string) {
	if rec == nil {
		return
	}
	word := "forbid"
	if decision == authz.Allow {
		word = "allow"
	}
	rec.Annotate("authorization.k8s.io/decision", word, false)
	rec.Annotate("authorization.k8s.io/reason", reason, false)
}

// auditRequest hands over what was sent.
func (q *request) auditRequest(gvk schema.GroupVersionKind, obj runtime.Object) {
	rec := q.w.audit
	if rec == nil {
		return
	}
	if meta, ok := obj.(metav1.Object); ok {
		rec.Object(meta)
	}
	if rec.WantsRequest() {
		rec.RequestBody(auditBody(rec, gvk, obj))
	}
}

// auditPatch hands over a patch as it was sent.
func (q *request) auditPatch(body []byte) {
	if rec := q.w.audit; rec.WantsRequest() {
		rec.RequestBody(append([]byte(nil), body...))
	}
}

// auditResponse hands over what is answered.
func (q *request) auditResponse(gvk schema.GroupVersionKind, obj runtime.Object) {
	rec := q.w.audit
	if rec == nil {
		return
	}
	if meta, ok := obj.(metav1.Object); ok {
		rec.Object(meta)
	}
	if rec.WantsResponse() {
		rec.ResponseBody(auditBody(rec, gvk, obj))
	}
}

// auditList hands over a list that is answered.
func (q *request) auditList(l *codec.List) {
	rec := q.w.audit
	if !rec.WantsResponse() {
		return
	}
	copied, body := *l, []byte(nil)
	copied.Flush = func(piece []byte) ([]byte, error) {
		if body = append(body, piece...); len(body) > audit.MaxBody {
			return nil, errLongList
		}
		return piece[:0], nil
	}
	if rec.OmitsManagedFields() {
		copied.Item = func(i int) (runtime.Object, error) {
			obj, err := l.Item(i)
			if err != nil {
				return nil, err
			}
			return withoutManagedFields(obj), nil
		}
	}
	rest, err := codec.AppendList(nil, codec.JSON, &copied)
	if err != nil {
		rec.Truncated()
		return
	}
	rec.ResponseBody(append(body, rest...))
}

var errLongList = errors.New("the list is too long for an audit event")

func auditBody(rec *audit.Record, gvk schema.GroupVersionKind, obj runtime.Object) []byte {
	if rec.OmitsManagedFields() {
		obj = withoutManagedFields(obj)
	}
	body, err := codec.Append(nil, codec.JSON, gvk, obj)
	if err != nil {
		return nil
	}
	return body
}

func withoutManagedFields(obj runtime.Object) runtime.Object {
	o, ok := obj.(api.Object)
	if !ok || len(o.GetManagedFields()) == 0 {
		return obj
	}
	copied := obj.DeepCopyObject().(api.Object)
	copied.SetManagedFields(nil)
	return copied
}
