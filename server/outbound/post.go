package outbound

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxRefusal is how much of the body of an answer that is not 200 becomes part of the error.
const maxRefusal = 4 << 10

// Post sends a JSON body and returns the body of the 200 answer. ctx and Timeout bound the whole call. Errors read as
// upstream's clients word them; an answer other than 200 is an API error.
func (c *Client) Post(ctx context.Context, t Target, body []byte) ([]byte, error) {
	timeout, limit := t.Timeout, t.MaxAnswer
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	if limit <= 0 {
		limit = defaultMaxAnswer
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	rt, base, err := c.Transport(t)
	if err != nil {
		return nil, err
	}
	if base, err = callURL(base, t.Timeout); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	req.Header.Set("User-Agent", "kube-apiserver-admission")
	if t.Credentials != nil && t.Credentials.Authorize != nil {
		if err := t.Credentials.Authorize(req); err != nil {
			return nil, fmt.Errorf("credentials for %s: %w", base, err)
		}
	}
	client := http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", base, err)
	}
	if int64(len(answer)) > limit {
		return nil, fmt.Errorf("the answer of %s is larger than %d bytes", base, limit)
	}
	return answer, nil
}

// callURL is base as clients of Kubernetes write it: the path without doubled slashes (which some servers answer with a
// redirect, and none is followed), and the deadline in the query if there is one.
func callURL(base string, timeout time.Duration) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", err
	}
	if u.Path != "" {
		u.Path, u.RawPath = path.Clean(u.Path), ""
	}
	if timeout > 0 {
		q := u.Query()
		q.Set("timeout", timeout.String())
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

func refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	return apierrors.NewGenericServerResponse(resp.StatusCode, "post", schema.GroupResource{}, "", string(bytes.TrimSpace(text)), 0, true)
}
