package aggregation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/transport"

	"codeberg.org/skiff/skiff/server/outbound"
)

const (
	// askTimeout is how long the other server may take to say what it serves, and askLimit how much it may say.
	askTimeout = 5 * time.Second
	askLimit   = 4 << 20
	// asks are how many tries it has: some of its endpoints may be dead.
	asks = 3
	// documentLimit bounds its OpenAPI documents.
	documentLimit = 16 << 20
)

// answer of another server to the question what it serves.
type answer struct {
	name      string
	resources []apidiscoveryv2.APIResourceDiscovery
	// v2 and v3 are its OpenAPI documents; nil when it has none.
	v2, v3 []byte
	err    error
}

// ask the server of a backend for its resources, and when it answers, for its OpenAPI documents.
func ask(ctx context.Context, out *outbound.Client, b *backend, documents bool) answer {
	a := answer{name: b.name}
	path := "/apis/" + b.gv.Group + "/" + b.gv.Version
	for range asks {
		var body []byte
		if body, a.err = get(ctx, out, b.target, path, "application/json", askLimit); a.err == nil {
			var list metav1.APIResourceList
			if err := json.Unmarshal(body, &list); err == nil {
				a.resources = asDiscovery(&list, b.gv)
			}
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	if a.err == nil && documents {
		a.v3, _ = get(ctx, out, b.target, "/openapi/v3"+path, "application/json", documentLimit)
		a.v2, _ = get(ctx, out, b.target, "/openapi/v2", "application/json", documentLimit)
	}
	return a
}

// get one path as the aggregator itself.
func get(ctx context.Context, out *outbound.Client, t outbound.Target, path, accept string, limit int64) ([]byte, error) {
	rt, base, err := out.Transport(t)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	url := base + path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("User-Agent", "skiff/aggregator")
	transport.SetAuthProxyHeaders(r, "system:kube-aggregator", "", []string{"system:masters"}, nil)
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("failing or missing response from %v: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("failing or missing response from %v: bad status from %v: %d", url, url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("failing or missing response from %v: %w", url, err)
	}
	if int64(len(body)) > limit {
		return nil, errors.New("the answer from " + url + " is too long")
	}
	return body, nil
}

// asDiscovery turns the list of one version into the form that the aggregated document has.
func asDiscovery(list *metav1.APIResourceList, gv schema.GroupVersion) []apidiscoveryv2.APIResourceDiscovery {
	var out []apidiscoveryv2.APIResourceDiscovery
	at := map[string]int{}
	for _, r := range list.APIResources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		scope := apidiscoveryv2.ScopeCluster
		if r.Namespaced {
			scope = apidiscoveryv2.ScopeNamespace
		}
		at[r.Name] = len(out)
		out = append(out, apidiscoveryv2.APIResourceDiscovery{Resource: r.Name, ResponseKind: kindOf(r, gv), Scope: scope,
			SingularResource: r.SingularName, Verbs: r.Verbs, ShortNames: r.ShortNames, Categories: r.Categories})
	}
	for _, r := range list.APIResources {
		parent, sub, ok := strings.Cut(r.Name, "/")
		if i, known := at[parent]; ok && known {
			out[i].Subresources = append(out[i].Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kindOf(r, gv), Verbs: r.Verbs})
		}
	}
	return out
}

func kindOf(r metav1.APIResource, gv schema.GroupVersion) *metav1.GroupVersionKind {
	k := &metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
	if k.Group == gv.Group && k.Version == gv.Version {
		k.Group, k.Version = "", ""
	}
	return k
}
