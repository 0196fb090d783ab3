package kubelet

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/runtime/image"
)

// privateImages is a registry's image that needs a password, in a store that asks for each pull.
type privateImages struct {
	*fakeImages
	password string
	pulls    int
}

func (p *privateImages) Pull(ctx context.Context, ref string, opts image.PullOptions) (*image.Image, error) {
	p.pulls++
	for i, a := range opts.Auths {
		if a.Password == p.password {
			img, err := p.fakeImages.Pull(ctx, ref, opts)
			opts.Accepted(i)
			return img, err
		}
	}
	if p.password == "" {
		return p.fakeImages.Pull(ctx, ref, opts)
	}
	return nil, image.ErrUnauthorized
}

// TestPrivateImagesAreNotShared: what one namespace pulled with its Secret, another one uses only when it could have pulled it.
func TestPrivateImagesAreNotShared(t *testing.T) {
	const ref = "registry.example/app:v1"
	secret := func(namespace, password string) *corev1.Secret {
		auth := base64.StdEncoding.EncodeToString([]byte("u:" + password))
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pull", UID: types.UID("uid-" + namespace)},
			Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"registry.example":{"auth":%q}}}`, auth)}}
	}
	r := newRig(t, fakeServer(secret("owner", "p"), secret("copy", "p"), secret("wrong", "x")))
	store := &privateImages{fakeImages: newFakeImages(t.TempDir()), password: "p"}
	r.cfg.Images = store
	restart := func() {
		t.Helper()
		var err error
		if r.k, err = New(r.cfg); err != nil {
			t.Fatal(err)
		}
	}
	restart()
	use := func(namespace string, policy corev1.PullPolicy, want error) {
		t.Helper()
		pod := testPod("p", func(p *corev1.Pod) {
			p.Namespace = namespace
			if namespace != "none" {
				p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
			}
		})
		_, err := r.k.ensureImage(context.Background(), pod, ref, policy, func(string, string, string, ...any) {})
		if !errors.Is(err, want) && (want == nil || err == nil || err.Error() != want.Error()) {
			t.Errorf("%s with %s: %v; want %v", namespace, policy, err, want)
		}
	}
	never := errors.New(`Container image "` + ref + `" is not present with pull policy of Never`)
	pulls := func(n int) {
		t.Helper()
		if store.pulls != n {
			t.Errorf("%d pulls, want %d", store.pulls, n)
		}
		store.pulls = 0
	}
	use("none", corev1.PullIfNotPresent, image.ErrUnauthorized)
	use("owner", corev1.PullIfNotPresent, nil)
	pulls(2)
	for range 2 { // the second time after a restart
		use("owner", corev1.PullIfNotPresent, nil)
		use("owner", corev1.PullNever, nil)
		use("copy", corev1.PullIfNotPresent, nil) // the same credentials
		pulls(0)
		use("none", corev1.PullIfNotPresent, image.ErrUnauthorized)
		use("wrong", corev1.PullIfNotPresent, image.ErrUnauthorized)
		pulls(2)
		use("none", corev1.PullNever, never)
		use("wrong", corev1.PullNever, never)
		pulls(0)
		restart()
	}
	// A crash between the pull and its record.
	img := store.Get(ref)
	records := r.k.pulls.records
	if err := errors.Join(records.begin(ref), os.Remove(records.path(img.ID))); err != nil {
		t.Fatal(err)
	}
	restart()
	use("none", corev1.PullNever, never)
	use("owner", corev1.PullIfNotPresent, nil) // asks, and is recorded again
	pulls(1)
	// Removed and imported: free for all.
	r.k.pulls.records.prune(func(string) bool { return false })
	use("none", corev1.PullNever, nil)
	use("none", corev1.PullIfNotPresent, nil)
	// Pulled without credentials: everyone's, for that repository.
	store.password = ""
	use("none", corev1.PullAlways, nil)
	use("wrong", corev1.PullNever, nil)
}
