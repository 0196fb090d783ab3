package apiserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
	"codeberg.org/skiff/skiff/server/registry"
)

// maxBody is upstream's limit of what may be sent.
const maxBody = 3 << 20

// readBody reads the whole body into buf.
func readBody(r *http.Request, buf []byte) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, errTooLarge()
	}
	if n := int(r.ContentLength) + bytes.MinRead; n > cap(buf) && r.ContentLength > 0 {
		buf = make([]byte, 0, n)
	}
	b := bytes.NewBuffer(buf[:0])
	n, err := b.ReadFrom(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("reading the request body: %v", err))
	}
	if n > maxBody {
		return nil, errTooLarge()
	}
	return b.Bytes(), nil
}

func errTooLarge() error {
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
}

// bodyFormat is the format of what was sent; JSON when the client does not say.
func bodyFormat(r *http.Request) (codec.Format, error) {
	mediaType := negotiate.ContentType(r)
	if mediaType == "" {
		return codec.JSON, nil
	}
	f, ok := codec.FormatOf(mediaType)
	if !ok {
		return 0, errMediaType(codec.Accepted)
	}
	return f, nil
}

// The ways to treat fields that nobody knows.
const (
	validateStrict = "Strict"
	validateWarn   = "Warn"
	validateIgnore = "Ignore"
)

// decodeBody reads what was sent as the (sub)resource's kind, in the served version, with empty TypeMeta.
func (q *request) decodeBody(validation string) (runtime.Object, error) {
	f, err := bodyFormat(q.r)
	if err != nil {
		return nil, err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	data, err := readBody(q.r, *buf)
	if err != nil {
		return nil, err
	}
	*buf = data
	into := q.newBody()
	if into == nil {
		return nil, errMethod()
	}
	expected := q.bodyGVK()
	_, custom := into.(runtime.Unstructured)
	gvk, unknown, err := codec.Decode(f, data, into, validation != validateIgnore)
	if err != nil {
		return nil, errDecode(gvk, expected, err)
	}
	if custom && gvk.Kind == "" {
		return nil, errDecode(schema.GroupVersionKind{}, expected, runtime.NewMissingKindErr(string(data)))
	}
	if err := checkGVK(gvk, expected, into); err != nil {
		return nil, err
	}
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if custom {
		into.GetObjectKind().SetGroupVersionKind(expected)
		more, err := q.prune(into)
		if err != nil {
			return nil, errDecode(expected, expected, err)
		}
		unknown = append(unknown, more...)
	}
	if len(unknown) > 0 && validation != validateIgnore {
		if validation == validateStrict {
			return nil, errDecode(expected, expected, runtime.NewStrictDecodingError(unknown))
		}
		for _, err := range unknown {
			q.warn(err.Error())
		}
	}
	q.auditRequest(expected, into)
	return into, nil
}

// prune takes from a custom object what its schema does not know, and returns that as the mistakes of a strict reader.
func (q *request) prune(obj runtime.Object) ([]error, error) {
	o, ok := obj.(api.Object)
	if !ok || q.version.Prune == nil {
		return nil, nil
	}
	unknown, err := q.version.Prune(o)
	var mistakes []error
	for _, text := range unknown {
		mistakes = append(mistakes, errors.New(text))
	}
	return mistakes, err
}

func (q *request) newBody() runtime.Object {
	if q.sub != nil && q.sub.New != nil {
		return q.sub.New()
	}
	if q.version.New == nil {
		return nil
	}
	return q.version.New()
}

// checkGVK compares what the body says it is with what the path takes. A body that says nothing is taken, unless the kind is custom.
func checkGVK(gvk, expected schema.GroupVersionKind, body runtime.Object) error {
	custom, ok := body.(*unstructured.Unstructured)
	if (gvk.Version != "" || ok) && gvk.GroupVersion() != expected.GroupVersion() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)",
			gvk.GroupVersion(), expected.GroupVersion()))
	}
	if gvk.Kind == "" || gvk.Kind == expected.Kind {
		return nil
	}
	if ok {
		return registry.OtherKind(gvk, custom.GetName(), expected.Kind)
	}
	return errDecode(gvk, expected, fmt.Errorf("the kind in the data (%s) does not match the expected kind (%s)", gvk.Kind, expected.Kind))
}

// errDecode is the 400 for a body that cannot be read.
func errDecode(gvk, expected schema.GroupVersionKind, err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	if gvk.Kind == "" && gvk.Version == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v", expected.Kind, err))
	}
	if gvk.Kind == "" {
		gvk.Kind = expected.Kind
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", gvk.Kind, gvk.Version, expected.Kind, err))
}

// checkMeta makes namespace and name of the body agree with the path.
func (q *request) checkMeta(obj runtime.Object, checkName bool) error {
	meta, ok := obj.(metav1.Object)
	if !ok {
		return nil
	}
	if q.kind.Namespaced {
		switch meta.GetNamespace() {
		case "":
			meta.SetNamespace(q.path.namespace)
		case q.path.namespace:
		default:
			return apierrors.NewBadRequest(fmt.Sprintf(
				"the namespace of the provided object does not match the namespace sent on the request: the provided object has %q, the request %q",
				meta.GetNamespace(), q.path.namespace))
		}
	} else {
		meta.SetNamespace("")
	}
	if !checkName {
		return nil
	}
	switch meta.GetName() {
	case "":
		meta.SetName(q.path.name)
	case q.path.name:
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", meta.GetName(), q.path.name))
	}
	return nil
}

// deleteOptions reads them from the body, or from the query when there is none.
func (q *request) deleteOptions() (*metav1.DeleteOptions, error) {
	opts := &metav1.DeleteOptions{}
	buf := getBuffer()
	defer putBuffer(buf)
	data, err := readBody(q.r, *buf)
	if err != nil {
		return nil, err
	}
	*buf = data
	if len(data) > 0 {
		f, err := bodyFormat(q.r)
		if err != nil {
			return nil, err
		}
		if gvk, _, err := codec.Decode(f, data, opts, false); err != nil {
			return nil, errDecode(gvk, schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}, err)
		}
		opts.TypeMeta = metav1.TypeMeta{}
	} else if err := q.deleteQuery(opts); err != nil {
		return nil, err
	}
	q.auditRequest(schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}, opts)
	return opts, validDelete(opts)
}
