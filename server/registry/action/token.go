package action

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

const (
	minTokenSeconds     = 10 * 60
	maxTokenSeconds     = 1 << 32
	defaultTokenSeconds = 60 * 60
)

type tokens struct {
	sign      func(Claims) (string, time.Time, error)
	audiences []string
	longest   int64 // seconds; 0: no limit
}

func newTokens(c Config) *tokens {
	t := &tokens{sign: c.SignToken, audiences: c.Audiences, longest: int64(c.MaxExpiration / time.Second)}
	if len(t.audiences) == 0 {
		t.audiences = []string{wellknown.ServiceAccountIssuer}
	}
	return t
}

// request makes a token for a service account: POST of a TokenRequest on serviceaccounts/token.
func (t *tokens) request(ctx context.Context, r *registry.Registry, req registry.Request, sent runtime.Object) (runtime.Object, error) {
	tr, err := body[*authenticationv1.TokenRequest](sent)
	if err != nil {
		return nil, err
	}
	req.Subresource = ""
	found, err := r.Get(ctx, req, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	account := found.(*corev1.ServiceAccount)
	tr = tr.DeepCopy()
	if err := names(tr, account); err != nil {
		return nil, err
	}
	t.fillIn(tr)
	if errs := validateTokenRequest(tr); len(errs) > 0 {
		return nil, apierrors.NewInvalid(authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind(), "", errs)
	}
	if asked := *tr.Spec.ExpirationSeconds; t.longest > 0 && asked > t.longest {
		req.Warnf("requested expiration of %d seconds shortened to %d seconds", asked, t.longest)
		tr.Spec.ExpirationSeconds = ptr(t.longest)
	}
	claims := Claims{
		Namespace: account.Namespace, ServiceAccount: account.Name, UID: string(account.UID),
		Audiences: tr.Spec.Audiences,
		Expires:   r.Now().Add(time.Duration(*tr.Spec.ExpirationSeconds) * time.Second),
	}
	if err := boundTo(r, account, tr.Spec.BoundObjectRef, &claims); err != nil {
		return nil, err
	}
	token, expires, err := t.sign(claims)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("sign a token for service account %s/%s: %w", account.Namespace, account.Name, err))
	}
	tr.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	tr.Name, tr.Namespace, tr.UID, tr.CreationTimestamp = account.Name, account.Namespace, account.UID, r.Now()
	return tr, nil
}

// names checks what a request says itself of whose token it wants.
func names(tr *authenticationv1.TokenRequest, account *corev1.ServiceAccount) error {
	kind := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
	at := field.NewPath("metadata")
	var errs field.ErrorList
	if tr.Name != "" && tr.Name != account.Name {
		errs = append(errs, field.Invalid(at.Child("name"), tr.Name, "must match the service account name if specified"))
	}
	if tr.Namespace != "" && tr.Namespace != account.Namespace {
		errs = append(errs, field.Invalid(at.Child("namespace"), tr.Namespace, "must match the service account namespace if specified"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(kind.GroupKind(), account.Name, errs)
	}
	if tr.UID != "" && tr.UID != account.UID {
		return apierrors.NewConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, account.Name, fmt.Errorf(
			"the UID in the token request (%s) does not match the UID of the service account (%s)", tr.UID, account.UID))
	}
	return nil
}

func (t *tokens) fillIn(tr *authenticationv1.TokenRequest) {
	if len(tr.Spec.Audiences) == 0 {
		tr.Spec.Audiences = t.audiences
	}
	if tr.Spec.ExpirationSeconds == nil {
		tr.Spec.ExpirationSeconds = ptr(int64(defaultTokenSeconds))
	}
}

func validateTokenRequest(tr *authenticationv1.TokenRequest) (errs field.ErrorList) {
	path := field.NewPath("spec", "expirationSeconds")
	if *tr.Spec.ExpirationSeconds < minTokenSeconds {
		errs = append(errs, field.Invalid(path, *tr.Spec.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
	}
	if *tr.Spec.ExpirationSeconds > maxTokenSeconds {
		errs = append(errs, field.Invalid(path, *tr.Spec.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// boundTo puts into the claims the object whose deletion ends the token, which must be the one that is there now.
func boundTo(r *registry.Registry, account *corev1.ServiceAccount, ref *authenticationv1.BoundObjectReference, claims *Claims) error {
	if ref == nil {
		return nil
	}
	var obj api.Object
	switch gvk := ref.APIVersion + "/" + ref.Kind; gvk {
	case "v1/Pod":
		obj = lookup(r, &corev1.Pod{}, account.Namespace, ref.Name)
	case "v1/Secret":
		obj = lookup(r, &corev1.Secret{}, account.Namespace, ref.Name)
	case "v1/Node":
		obj = lookup(r, &corev1.Node{}, "", ref.Name)
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount to object of type %s", gvk))
	}
	if obj == nil {
		return apierrors.NewNotFound(corev1.Resource(resourceOf[ref.Kind]), ref.Name)
	}
	if ref.UID != "" && ref.UID != obj.GetUID() {
		return apierrors.NewConflict(corev1.Resource(resourceOf[ref.Kind]), ref.Name, fmt.Errorf(
			"the UID in the bound object reference (%s) does not match the UID in record. "+
				"The object might have been deleted and then recreated", ref.UID))
	}
	claims.BoundKind, claims.BoundName, claims.BoundUID = ref.Kind, ref.Name, string(obj.GetUID())
	switch o := obj.(type) {
	case *corev1.Pod:
		if o.Spec.ServiceAccountName != account.Name {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account.Name))
		}
		claims.NodeName = o.Spec.NodeName
		if node := lookup(r, &corev1.Node{}, "", o.Spec.NodeName); node != nil {
			claims.NodeUID = string(node.GetUID())
		}
	case *corev1.Node:
		claims.NodeName, claims.NodeUID = o.Name, string(o.UID)
	}
	return nil
}

var resourceOf = map[string]string{"Pod": "pods", "Secret": "secrets", "Node": "nodes"}

// lookup reads from the newest snapshot; nil if it is not there.
func lookup(r *registry.Registry, example api.Object, namespace, name string) api.Object {
	kind := r.Catalogue().ByObject(example)
	if kind == nil || name == "" {
		return nil
	}
	return r.Snapshot().Get(kind, namespace, name)
}
