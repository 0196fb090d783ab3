package server

import (
	"context"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/registry/admission/webhook"
)

// maxPatchCopies is how many bytes the copy operations of one JSON patch may add up to: a few of them, each copying what
// the one before made, would else fill the memory. The library has one limit for all its users.
const maxPatchCopies = 3 << 20

func limitPatches() { jsonpatch.AccumulatedCopySizeLimit = maxPatchCopies }

// webhookPost is the way to admission webhooks. kubeconfig is a file with credentials for them, by host; "": none.
func (s *Server) webhookPost(kubeconfig string) (webhook.Post, error) {
	credentials, err := newWebhookCredentials(kubeconfig)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, to *admissionv1.WebhookClientConfig, timeout time.Duration, body []byte) ([]byte, error) {
		t := outbound.Target{CABundle: to.CABundle, Timeout: timeout}
		if to.URL != nil {
			t.URL = *to.URL
		}
		if svc := to.Service; svc != nil {
			t.Service = &outbound.Service{Namespace: svc.Namespace, Name: svc.Name}
			if svc.Path != nil {
				t.Service.Path = *svc.Path
			}
			if svc.Port != nil {
				t.Service.Port = *svc.Port
			}
		}
		var err error
		if t.Credentials, err = credentials.of(&t); err != nil {
			return nil, err
		}
		return s.outbound.Post(ctx, t, body)
	}, nil
}
