package customresource

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/outbound"
)

const (
	// webhookTimeout bounds one call.
	webhookTimeout = 30 * time.Second
	// chunkObjects and chunkBytes bound what is sent with one call; a longer list takes several.
	chunkObjects, chunkBytes = 500, 2 << 20
)

// webhook converts by asking the server that the definition names.
type webhook struct {
	hooks  Poster
	target outbound.Target
	// review is the version of ConversionReview to speak: v1 or v1beta1.
	review string
}

func newWebhook(d *Definition, hooks Poster) (*webhook, error) {
	c := d.Spec.Conversion.Webhook
	if c == nil || c.ClientConfig == nil {
		return nil, errors.New("its conversion names no webhook")
	}
	w := &webhook{hooks: hooks, target: outbound.Target{CABundle: bytes.TrimSpace(c.ClientConfig.CABundle)}}
	if len(w.target.CABundle) == 0 {
		w.target.CABundle = nil
	}
	if c.ClientConfig.URL != nil {
		w.target.URL = *c.ClientConfig.URL
	}
	if s := c.ClientConfig.Service; s != nil {
		w.target.Service = &outbound.Service{Namespace: s.Namespace, Name: s.Name, Port: 443}
		if s.Port != nil {
			w.target.Service.Port = *s.Port
		}
		if s.Path != nil {
			w.target.Service.Path = *s.Path
		}
	}
	for _, v := range c.ConversionReviewVersions {
		if v == "v1" || v == "v1beta1" {
			w.review = v
			break
		}
	}
	if w.review == "" {
		return nil, errors.New("no supported conversion review versions")
	}
	return w, nil
}

func (w *webhook) convert(objs []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, 0, len(objs))
	for len(objs) > 0 {
		chunk, raw, err := cut(objs)
		if err != nil {
			return nil, err
		}
		converted, err := w.ask(chunk, raw, to)
		if err != nil {
			return nil, fmt.Errorf("conversion webhook for %v failed: %w", chunk[0].GroupVersionKind(), err)
		}
		out, objs = append(out, converted...), objs[len(chunk):]
	}
	return out, nil
}

// cut takes as many objects as go into one call.
func cut(objs []*unstructured.Unstructured) (chunk []*unstructured.Unstructured, raw []runtime.RawExtension, err error) {
	size := 0
	for _, u := range objs {
		data, err := json.Marshal(u.Object)
		if err != nil {
			return nil, nil, fmt.Errorf("encode %s %q: %w", u.GetKind(), u.GetName(), err)
		}
		if len(raw) > 0 && (len(raw) == chunkObjects || size+len(data) > chunkBytes) {
			break
		}
		raw, size = append(raw, runtime.RawExtension{Raw: data}), size+len(data)
	}
	return objs[:len(raw)], raw, nil
}

// ask makes one call.
func (w *webhook) ask(objs []*unstructured.Unstructured, raw []runtime.RawExtension, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
	if w.hooks == nil {
		return nil, errors.New("this server reaches no webhooks")
	}
	uid := uuid.NewUUID()
	body, err := json.Marshal(&apiextensionsv1.ConversionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/" + w.review, Kind: "ConversionReview"},
		Request:  &apiextensionsv1.ConversionRequest{UID: uid, DesiredAPIVersion: to.String(), Objects: raw},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), webhookTimeout)
	defer cancel()
	answer, err := w.hooks.Post(ctx, w.target, body)
	if err != nil {
		return nil, err
	}
	converted, err := w.read(answer, uid)
	if err != nil {
		return nil, err
	}
	if len(converted) != len(objs) {
		return nil, fmt.Errorf("it returned %d objects, expected %d", len(converted), len(objs))
	}
	out := make([]*unstructured.Unstructured, len(objs))
	for i := range objs {
		if out[i], err = accept(objs[i], converted[i].Raw, to); err != nil {
			return nil, fmt.Errorf("invalid converted object at index %d: %w", i, err)
		}
	}
	return out, nil
}

// read takes the objects out of a review. Of v1beta1 upstream never checked what the answer says it is.
func (w *webhook) read(answer []byte, uid types.UID) ([]runtime.RawExtension, error) {
	var review apiextensionsv1.ConversionReview
	if err := json.Unmarshal(answer, &review); err != nil {
		return nil, fmt.Errorf("read its answer: %w", err)
	}
	if want := apiextensionsv1.SchemeGroupVersion.WithKind("ConversionReview"); w.review == "v1" && review.GroupVersionKind() != want {
		return nil, fmt.Errorf("expected webhook response of %v, got %v", want, review.GroupVersionKind())
	}
	r := review.Response
	switch {
	case r == nil:
		return nil, errors.New("no response provided")
	case w.review == "v1" && r.UID != uid:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
	case r.Result.Status != metav1.StatusSuccess && r.Result.Message != "":
		return nil, errors.New(r.Result.Message)
	case r.Result.Status != metav1.StatusSuccess:
		return nil, fmt.Errorf("response.result.status was '%s', not 'Success'", r.Result.Status)
	}
	return r.ConvertedObjects, nil
}

// accept checks that what came back is the object that was sent, in the version that was asked for. Of its metadata a
// webhook can change labels and annotations only.
func accept(in *unstructured.Unstructured, raw []byte, to schema.GroupVersion) (*unstructured.Unstructured, error) {
	out := &unstructured.Unstructured{}
	if err := out.UnmarshalJSON(raw); err != nil {
		return nil, err
	}
	if got := out.GroupVersionKind(); got.GroupVersion() != to {
		return nil, fmt.Errorf("invalid groupVersion (expected %v, received %v)", to, got.GroupVersion())
	}
	for _, same := range []struct{ what, in, out string }{
		{"kind", in.GetKind(), out.GetKind()}, {"name", in.GetName(), out.GetName()},
		{"namespace", in.GetNamespace(), out.GetNamespace()}, {"UID", string(in.GetUID()), string(out.GetUID())},
	} {
		if same.in != same.out {
			return nil, fmt.Errorf("must have the same %s: %s != %s", same.what, same.in, same.out)
		}
	}
	if err := restoreMetadata(in, out); err != nil {
		return nil, fmt.Errorf("invalid metadata: %w", err)
	}
	return out, nil
}

func restoreMetadata(in, out *unstructured.Unstructured) error {
	got, ok := out.Object["metadata"].(map[string]any)
	if !ok {
		return fmt.Errorf("invalid metadata of type %T in converted object", out.Object["metadata"])
	}
	meta, _ := runtime.DeepCopyJSONValue(in.Object["metadata"]).(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	for _, name := range []string{"labels", "annotations"} {
		delete(meta, name)
		value := got[name]
		if value == nil {
			continue
		}
		texts := map[string]string{}
		fields, ok := value.(map[string]any)
		if !ok {
			return fmt.Errorf("invalid metadata.%s of type %T in converted object", name, value)
		}
		for key, v := range fields {
			if texts[key], ok = v.(string); !ok {
				return fmt.Errorf("metadata.%s[%s] must be a string, but is %T in converted object", name, key, v)
			}
		}
		var errs field.ErrorList
		if name == "labels" {
			errs = metavalidation.ValidateLabels(texts, field.NewPath("metadata", "labels"))
		} else {
			errs = validation.ValidateAnnotations(texts, field.NewPath("metadata", "annotation"))
		}
		if len(errs) > 0 && !sameTexts(in, name, texts) {
			return errs.ToAggregate()
		}
		meta[name] = fields
	}
	out.Object["metadata"] = meta
	return nil
}

// sameTexts: what a webhook has not touched may be as wrong as it was.
func sameTexts(in *unstructured.Unstructured, name string, texts map[string]string) bool {
	have, _, _ := unstructured.NestedStringMap(in.Object, "metadata", name)
	if len(have) != len(texts) {
		return false
	}
	for key, v := range texts {
		if old, ok := have[key]; !ok || old != v {
			return false
		}
	}
	return true
}
