package server

import (
	"errors"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/registry"
)

// auditInternal writes down what controllers and the scheduler do, who do not come by HTTP: without bodies, whatever the level.
func (s *Server) auditInternal(verb string, req registry.Request, err error) {
	if s.audit == nil {
		return
	}
	version := req.Kind.Hub()
	r := &audit.Request{
		ID: string(uuid.NewUUID()), User: req.User, Verb: verb, URI: uriOf(req), Group: version.Group, Version: version.Version,
		Resource: req.Kind.Plural, Subresource: req.Subresource, Namespace: req.Namespace, Name: req.Name,
		SourceIPs: []string{"127.0.0.1"}, UserAgent: "skiff/" + req.FieldManager, Received: s.cfg.Now(),
	}
	rec, beginErr := s.audit.Begin(r)
	if rec == nil || beginErr != nil {
		return
	}
	rec.Annotate("authorization.k8s.io/decision", "allow", false)
	code := http.StatusOK
	if err != nil {
		status := metav1.Status{Status: metav1.StatusFailure, Message: err.Error(), Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError}
		var known apierrors.APIStatus
		if errors.As(err, &known) {
			status = known.Status()
		}
		rec.Refused(&status)
		code = int(status.Code)
	} else if verb == "create" {
		code = http.StatusCreated
	}
	rec.Complete(code)
}

// uriOf is the path by which the same would be asked for over HTTP.
func uriOf(req registry.Request) string {
	version := req.Kind.Hub()
	parts := []string{"", "apis", version.Group, version.Version}
	if version.Group == "" {
		parts = []string{"", "api", version.Version}
	}
	if req.Kind.Namespaced && req.Namespace != "" {
		parts = append(parts, "namespaces", req.Namespace)
	}
	parts = append(parts, req.Kind.Plural)
	if req.Name != "" {
		parts = append(parts, req.Name)
		if req.Subresource != "" {
			parts = append(parts, req.Subresource)
		}
	}
	return strings.Join(parts, "/")
}
