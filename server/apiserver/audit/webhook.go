package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// webhookWait collects events before they are sent; webhookBatch is how many are sent at once.
	webhookWait  = time.Second
	webhookBatch = 400
	// webhookTimeout of one try, of webhookTries.
	webhookTimeout = 15 * time.Second
	webhookTries   = 4
)

// webhook sends events to where a kubeconfig points.
type webhook struct {
	url    string
	client *http.Client
	// backoff before the second try; doubled for each further one.
	backoff time.Duration
}

func newWebhook(kubeconfig string) (*webhook, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--audit-webhook-config-file: %w", err)
	}
	config.Timeout = webhookTimeout
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("--audit-webhook-config-file: %w", err)
	}
	return &webhook{url: config.Host, client: client, backoff: time.Second}, nil
}

func (w *webhook) send(ctx context.Context, events [][]byte) error {
	for len(events) > 0 {
		n := min(len(events), webhookBatch)
		if err := w.try(ctx, list(events[:n])); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// list makes an EventList of encoded events.
func list(events [][]byte) []byte {
	body := []byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	body = append(body, bytes.Join(events, []byte(","))...)
	return append(body, "]}\n"...)
}

func (w *webhook) try(ctx context.Context, body []byte) (err error) {
	wait := w.backoff
	for attempt := range webhookTries {
		if attempt > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return err
			}
			wait *= 2
		}
		if err = w.post(ctx, body); err == nil {
			return nil
		}
	}
	return err
}

func (w *webhook) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the webhook for audit events answered %s", resp.Status)
	}
	return nil
}
