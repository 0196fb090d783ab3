package audit

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/registry"
)

// Record is one request on its way. All methods of a nil Record do nothing.
type Record struct {
	log *Log
	verdict

	mu    sync.Mutex // a webhook may annotate from another goroutine
	event v1.Event
}

func newRecord(l *Log, r *Request, v verdict) *Record {
	rec := &Record{log: l, verdict: v, event: v1.Event{
		TypeMeta: metav1.TypeMeta{APIVersion: v1.SchemeGroupVersion.String(), Kind: "Event"},
		Level:    v.level, AuditID: types.UID(r.ID), RequestURI: r.URI, Verb: r.Verb, User: registry.UserInfo(r.User),
		SourceIPs: r.SourceIPs, UserAgent: r.UserAgent, RequestReceivedTimestamp: metav1.NewMicroTime(r.Received),
	}}
	if r.Resource != "" {
		rec.event.ObjectRef = &v1.ObjectReference{Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name,
			APIGroup: r.Group, APIVersion: r.Version}
	}
	return rec
}

// Impersonated notes as whom the user acts.
func (r *Record) Impersonated(u user.Info) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	info := registry.UserInfo(u)
	r.event.ImpersonatedUser = &info
}

// Annotations are bounded in number and length.
const (
	maxAnnotations = 64
	maxAnnotation  = 10 << 10
)

// Annotate adds an annotation; the first value of a key stays. body says that value shows content of the object, which is for
// the levels Request and RequestResponse only.
func (r *Record) Annotate(key, value string, body bool) {
	if r == nil || body && r.level == v1.LevelMetadata {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.event.Annotations == nil {
		r.event.Annotations = map[string]string{}
	}
	if _, there := r.event.Annotations[key]; there || len(r.event.Annotations) >= maxAnnotations {
		return
	}
	if len(value) > maxAnnotation {
		value = value[:maxAnnotation]
	}
	r.event.Annotations[key] = value
}

// WantsRequest and WantsResponse say whether the bodies are to be handed over, which costs their encoding.
func (r *Record) WantsRequest() bool {
	return r != nil && (r.level == v1.LevelRequest || r.level == v1.LevelRequestResponse)
}

// WantsResponse is for the level RequestResponse alone.
func (r *Record) WantsResponse() bool { return r != nil && r.level == v1.LevelRequestResponse }

// OmitsManagedFields says that bodies are to be handed over without metadata.managedFields.
func (r *Record) OmitsManagedFields() bool { return r != nil && r.omitManagedFields }

// Object completes what the URL does not say of the object: the name that was made up, its uid and revision.
func (r *Record) Object(obj metav1.Object) {
	if r == nil || obj == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	ref := r.event.ObjectRef
	if ref == nil {
		return
	}
	if ref.Name == "" {
		ref.Name = obj.GetName()
	}
	if ref.Namespace == "" {
		ref.Namespace = obj.GetNamespace()
	}
	if ref.UID == "" {
		ref.UID = obj.GetUID()
	}
	if ref.ResourceVersion == "" {
		ref.ResourceVersion = obj.GetResourceVersion()
	}
}

// MaxBody is how long a body in an event may be; a longer one is left out, with an annotation.
const MaxBody = 2 << 20

// Truncated notes that a body was left out.
func (r *Record) Truncated() { r.Annotate("audit.k8s.io/truncated", "true", false) }

// RequestBody notes what was sent, in JSON. It is kept: the caller must not change it. What is not JSON becomes a string.
func (r *Record) RequestBody(body []byte) {
	if r.WantsRequest() {
		r.keep(&r.event.RequestObject, body)
	}
}

// ResponseBody notes what was answered, in JSON. It is kept.
func (r *Record) ResponseBody(body []byte) {
	if r.WantsResponse() {
		r.keep(&r.event.ResponseObject, body)
	}
}

func (r *Record) keep(in **runtime.Unknown, body []byte) {
	if len(body) == 0 {
		return
	}
	if len(body) > MaxBody {
		r.Truncated()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	*in = unknown(body)
}

func unknown(body []byte) *runtime.Unknown {
	if !json.Valid(body) {
		body, _ = json.Marshal(string(body))
	}
	return &runtime.Unknown{Raw: body, ContentType: runtime.ContentTypeJSON}
}

// Refused notes the Status that a request got instead of an answer.
func (r *Record) Refused(s *metav1.Status) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	copied := *s
	r.event.ResponseStatus = &copied
}

// Started writes the stage ResponseStarted, of a stream.
func (r *Record) Started(code int) {
	if r == nil {
		return
	}
	r.status(code)
	_ = r.emit(v1.StageResponseStarted)
}

// Complete writes the last stage.
func (r *Record) Complete(code int) {
	if r == nil {
		return
	}
	r.status(code)
	_ = r.emit(v1.StageResponseComplete)
}

// Panicked writes the last stage of a request that brought the server into trouble.
func (r *Record) Panicked() {
	if r == nil {
		return
	}
	r.Refused(&metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError, Code: http.StatusInternalServerError,
		Message: "APIServer panic'd"})
	_ = r.emit(v1.StagePanic)
}

func (r *Record) status(code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.event.ResponseStatus == nil {
		r.event.ResponseStatus = &metav1.Status{}
	}
	r.event.ResponseStatus.Code = int32(code)
}

// emit hands the event to the sinks as it is now.
func (r *Record) emit(stage v1.Stage) error {
	if slices.Contains(r.omit, stage) {
		return nil
	}
	r.mu.Lock()
	r.event.Stage, r.event.StageTimestamp = stage, metav1.NewMicroTime(r.log.now())
	line, err := json.Marshal(&r.event)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	r.log.events.WithLabelValues(string(r.level)).Inc()
	var problems []error
	for _, s := range r.log.sinks {
		problems = append(problems, s.put(line))
	}
	return errors.Join(problems...)
}

// SourceIPs are the addresses that a request came through, as far as its headers say, and came from.
func SourceIPs(r *http.Request) (ips []string) {
	add := func(text string) {
		if ip := net.ParseIP(strings.TrimSpace(text)); ip != nil && len(ips) < 16 {
			ips = append(ips, ip.String())
		}
	}
	for _, list := range r.Header["X-Forwarded-For"] {
		for text := range strings.SplitSeq(list, ",") {
			add(text)
		}
	}
	if len(ips) == 0 {
		add(r.Header.Get("X-Real-Ip"))
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if ip := net.ParseIP(host); ip != nil && (len(ips) == 0 || ips[len(ips)-1] != ip.String()) {
		ips = append(ips, ip.String())
	}
	return ips
}

// maxUserAgent bounds what of it is written down.
const maxUserAgent = 1024

// UserAgent of a request, bounded.
func UserAgent(r *http.Request) string {
	agent := r.UserAgent()
	if len(agent) > maxUserAgent {
		agent = agent[:maxUserAgent] + "...TRUNCATED"
	}
	return agent
}
