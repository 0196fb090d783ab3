package apiserver

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/registry"
)

// request is one HTTP request for a resource on its way through the server.
type request struct {
	*Server
	w       *response
	r       *http.Request
	path    path
	query   url.Values
	user    user.Info
	kind    *api.Kind
	version *api.Version
	sub     *api.Subresource
	accept  accept
	// warned holds what was sent as Warning headers already.
	warned     map[string]bool
	warnedSize int
}

// gvk of the version that is served.
func (q *request) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: q.version.Group, Version: q.version.Version, Kind: q.kind.Kind}
}

// bodyGVK is the kind of what is sent to and answered by the (sub)resource.
func (q *request) bodyGVK() schema.GroupVersionKind {
	if q.sub != nil && q.sub.GVK.Kind != "" {
		return q.sub.GVK
	}
	return q.gvk()
}

// registryRequest is the request as the registry wants it.
func (q *request) registryRequest(dryRun []string, manager string) registry.Request {
	req := registry.Request{
		User: q.user, Kind: q.kind, Version: q.version, Subresource: q.path.sub,
		Namespace: q.scopeNamespace(), Name: q.path.name,
		DryRun: len(dryRun) > 0, FieldManager: manager, UserAgent: q.r.UserAgent(), Warn: q.warn,
	}
	if q.w.audit != nil {
		req.Annotate = q.w.audit.Annotate
	}
	return req
}

// scopeNamespace is the namespace of the object: none for kinds without, even for a Namespace itself.
func (q *request) scopeNamespace() string {
	if q.kind.Namespaced {
		return q.path.namespace
	}
	return ""
}

// Warnings are cut to warningLength once all of them together are longer than warningTotal characters; then there are no
// more of them at maxWarnings. Proxies refuse longer headers.
const (
	warningTotal  = 4 << 10
	warningLength = 256
	maxWarnings   = 64
)

// warn sends a Warning header (RFC 7234, code 299), once for each text.
func (q *request) warn(text string) {
	if q.warned[text] || len(q.warned) >= maxWarnings {
		return
	}
	if q.warnedSize += len(text); q.warnedSize > warningTotal && len(text) > warningLength {
		text = strings.ToValidUTF8(text[:warningLength], "")
	}
	if q.warned == nil {
		q.warned = map[string]bool{}
	}
	q.warned[text] = true
	q.w.Header().Add("Warning", "299 - "+quoteWarning(text))
}

func quoteWarning(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// hub makes the stored version of what was decoded in the served version.
func (q *request) hub(obj runtime.Object) (runtime.Object, error) {
	if o, ok := obj.(api.Object); ok && q.version.ToHub != nil && !q.foreignBody() {
		return q.version.ToHub(o)
	}
	return obj, nil
}

// served makes the served version of a stored object.
func (q *request) served(obj runtime.Object) (runtime.Object, error) {
	if q.kind.Convert != nil && !q.foreignBody() {
		// The registry answers in the version that is asked for; this is for watches, which pass on what is stored.
		if o, ok := obj.(api.Object); ok {
			return q.kind.ConvertTo(o, q.version)
		}
	}
	if q.version.FromHub == nil || q.foreignBody() {
		return obj, nil
	}
	if o, ok := obj.(api.Object); ok {
		return q.version.FromHub(o)
	}
	return obj, nil
}

// foreignBody: the subresource has a kind of its own, so the versions of the kind do not matter.
func (q *request) foreignBody() bool { return q.sub != nil && q.sub.GVK.Kind != "" }

// writeOptions are the query parameters of create, update and patch.
type writeOptions struct {
	dryRun     []string
	manager    string
	validation string
	force      *bool
}

func (q *request) createOptions() (writeOptions, error) {
	o := q.commonWriteOptions()
	errs := validation.ValidateCreateOptions(&metav1.CreateOptions{DryRun: o.dryRun, FieldManager: o.manager, FieldValidation: o.validation})
	return o, invalidOptions("CreateOptions", errs)
}

func (q *request) updateOptions() (writeOptions, error) {
	o := q.commonWriteOptions()
	errs := validation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: o.dryRun, FieldManager: o.manager, FieldValidation: o.validation})
	return o, invalidOptions("UpdateOptions", errs)
}

func (q *request) patchOptions(t types.PatchType) (writeOptions, error) {
	o := q.commonWriteOptions()
	if text, given := q.get("force"); given {
		force, err := parseBool(text)
		if err != nil {
			return o, badQuery("force", text)
		}
		o.force = &force
	}
	errs := validation.ValidatePatchOptions(&metav1.PatchOptions{DryRun: o.dryRun, FieldManager: o.manager, FieldValidation: o.validation, Force: o.force}, t)
	return o, invalidOptions("PatchOptions", errs)
}

func (q *request) commonWriteOptions() writeOptions {
	if len(q.query) == 0 {
		return writeOptions{}
	}
	return writeOptions{dryRun: q.query["dryRun"], manager: q.query.Get("fieldManager"), validation: q.query.Get("fieldValidation")}
}

func invalidOptions(kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
}

func (q *request) get(name string) (string, bool) {
	values, ok := q.query[name]
	if !ok || len(values) == 0 {
		return "", false
	}
	return values[0], true
}

// parseBool reads a boolean as upstream's query conversion does: everything but "false" and "0" is true.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "false", "0":
		return false, nil
	}
	return true, nil
}

func badQuery(name, value string) error {
	return apierrors.NewBadRequest("invalid value for query parameter " + name + ": " + strconv.Quote(value))
}

// formatOf the answer.
func (q *request) format() codec.Format { return q.accept.format }
