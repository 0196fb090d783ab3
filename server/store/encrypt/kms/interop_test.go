package kms

import (
	"context"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2"
	kmsapi "k8s.io/kms/apis/v2"
	kmsservice "k8s.io/kms/pkg/service"
)

// upstreams shows a plugin as upstream's own transformer wants it.
type upstreams struct{ *service }

func (u upstreams) Decrypt(ctx context.Context, uid string, r *kmsservice.DecryptRequest) ([]byte, error) {
	out, err := u.service.Decrypt(ctx, &kmsapi.DecryptRequest{Ciphertext: r.Ciphertext, KeyId: r.KeyID, Annotations: r.Annotations, Uid: uid})
	return out.GetPlaintext(), err
}

func (u upstreams) Encrypt(ctx context.Context, uid string, data []byte) (*kmsservice.EncryptResponse, error) {
	out, err := u.service.Encrypt(ctx, &kmsapi.EncryptRequest{Plaintext: data, Uid: uid})
	return &kmsservice.EncryptResponse{Ciphertext: out.GetCiphertext(), KeyID: out.GetKeyId(), Annotations: out.GetAnnotations()}, err
}

func (u upstreams) Status(ctx context.Context) (*kmsservice.StatusResponse, error) {
	out, err := u.service.Status(ctx, nil)
	return &kmsservice.StatusResponse{Version: out.GetVersion(), Healthz: out.GetHealthz(), KeyID: out.GetKeyId()}, err
}

// TestUpstreamReadsOursAndWeItsOwn: an etcd moves from one to the other in both directions.
func TestUpstreamReadsOursAndWeItsOwn(t *testing.T) {
	s := newService(t)
	p := newProvider(t, s, newClock())
	check(t, p)
	for _, seed := range []bool{true, false} {
		transformer, object, cacheKey, err := kmsv2.GenerateTransformer(t.Context(), "uid", upstreams{s}, seed)
		if err != nil {
			t.Fatal(err)
		}
		theirs := kmsv2.NewEnvelopeTransformer(upstreams{s}, "p", func() (kmsv2.State, error) {
			return kmsv2.State{Transformer: transformer, EncryptedObjectKeyID: object.KeyID, EncryptedObjectEncryptedDEKSource: object.EncryptedDEKSource,
				EncryptedObjectAnnotations: object.Annotations, EncryptedObjectEncryptedDEKSourceType: object.EncryptedDEKSourceType,
				ExpirationTimestamp: time.Now().Add(time.Hour), CacheKey: cacheKey}, nil
		}, "id")
		at := value.DefaultContext("/registry/x")
		got, _, err := theirs.TransformFromStorage(t.Context(), seal(t, p, "ours"), at)
		if err != nil || string(got) != "ours" {
			t.Errorf("upstream reads %q, %v", got, err)
		}
		sealed, err := theirs.TransformToStorage(t.Context(), []byte("theirs"), at)
		if err != nil {
			t.Fatal(err)
		}
		wantOpen(t, p, sealed, "theirs")
		if p.Stale(sealed) == seed {
			t.Errorf("a value with a seed: %v; stale: %v", seed, !seed)
		}
	}
}
