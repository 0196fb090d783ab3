package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	reviewv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
)

// review is an AdmissionReview on its way to a webhook. The two versions differ only in what is checked of the answer.
type review struct {
	uid     types.UID
	version string // "v1" or "v1beta1"
	body    []byte
}

func newReview(versions []string, m *match.Subject, t match.Target) (*review, error) {
	i := slices.IndexFunc(versions, func(v string) bool { return slices.Contains(api.ReviewVersions, v) })
	if i < 0 {
		return nil, errors.New("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
	}
	view, err := m.View(t)
	if err != nil {
		return nil, err
	}
	r := &review{uid: uuid.NewUUID(), version: versions[i]}
	request := m.Request(t)
	request.UID, request.Object, request.OldObject = r.uid, raw(view.Object), raw(view.Old)
	r.body, err = json.Marshal(&reviewv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: r.apiVersion(), Kind: "AdmissionReview"}, Request: request,
	})
	return r, err
}

func raw(obj runtime.Object) runtime.RawExtension { return runtime.RawExtension{Object: obj} }

func (r *review) apiVersion() string { return "admission.k8s.io/" + r.version }

// verify reads an answer. Whatever is wrong with it is an error; a refusal is not.
func (r *review) verify(data []byte, mutating bool) (*reviewv1.AdmissionResponse, error) {
	var answer reviewv1.AdmissionReview
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("decode webhook response: %w", err)
	}
	out := answer.Response
	if out == nil {
		return nil, errors.New("webhook response was absent")
	}
	if r.version == "v1" {
		if err := r.verifyV1(&answer, mutating); err != nil {
			return nil, err
		}
	} else if mutating && len(out.Patch) > 0 {
		jsonPatch := reviewv1.PatchTypeJSONPatch
		out.PatchType = &jsonPatch
	}
	if !mutating {
		out.Patch, out.PatchType = nil, nil
	}
	return out, nil
}

func (r *review) verifyV1(answer *reviewv1.AdmissionReview, mutating bool) error {
	out := answer.Response
	switch want := reviewv1.SchemeGroupVersion.WithKind("AdmissionReview"); {
	case out.UID != r.uid:
		return fmt.Errorf("expected response.uid=%q, got %q", r.uid, out.UID)
	case answer.GroupVersionKind() != want:
		return fmt.Errorf("expected webhook response of %v, got %v", want, answer.GroupVersionKind())
	case !mutating && len(out.Patch) > 0:
		return errors.New("validating webhook may not return response.patch")
	case !mutating && out.PatchType != nil:
		return errors.New("validating webhook may not return response.patchType")
	case !mutating:
		return nil
	case len(out.Patch) > 0 && out.PatchType == nil:
		return errors.New("webhook returned response.patch but not response.patchType")
	case len(out.Patch) == 0 && out.PatchType != nil:
		return errors.New("webhook returned response.patchType but not response.patch")
	case out.PatchType != nil && *out.PatchType == "":
		return fmt.Errorf("webhook returned invalid response.patchType of %q", *out.PatchType)
	}
	return nil
}

const badRequest = 400

// refusal is the Status that a webhook refused with, in the words that the API prefixes.
func refusal(name string, result *metav1.Status) error {
	status := metav1.Status{}
	if result != nil {
		status = *result.DeepCopy()
	}
	if status.Code < badRequest {
		status.Code = badRequest
	}
	status.Status = metav1.StatusFailure
	why := ": " + status.Message
	switch {
	case status.Message != "":
	case status.Reason != "":
		why = ": " + string(status.Reason)
	default:
		why = " without explanation"
	}
	status.Message = fmt.Sprintf("admission webhook %q denied the request%s", name, why)
	return &apierrors.StatusError{ErrStatus: status}
}
