package objects

import (
	"context"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
)

// allTrustBundles are followed as one object while a pod projects one of them: they have no namespace and there are few.
var allTrustBundles = Ref{Kind: KindTrustBundles}

// TrustAnchors returns the certificates that a projection names, each once. Their order is stable on this node and means nothing.
func (c *Cache) TrustAnchors(ctx context.Context, p *corev1.ClusterTrustBundleProjection) ([]byte, error) {
	o, err := c.get(ctx, allTrustBundles)
	if err != nil {
		return nil, err
	}
	bundles, err := selectBundles(o.(*certificatesv1.ClusterTrustBundleList).Items, p)
	if err != nil {
		if p.Optional != nil && *p.Optional && errors.Is(err, errNoBundle) {
			return []byte{}, nil
		}
		return nil, err
	}
	return anchors(bundles), nil
}

var errNoBundle = errors.New("no such ClusterTrustBundle")

func selectBundles(all []certificatesv1.ClusterTrustBundle, p *corev1.ClusterTrustBundleProjection) (out []string, err error) {
	selector, err := metav1.LabelSelectorAsSelector(p.LabelSelector) // none selects nothing, an empty one all
	if err != nil {
		return nil, fmt.Errorf("parse the label selector: %w", err)
	}
	for i := range all {
		b := &all[i]
		switch {
		case p.Name != nil && b.Name == *p.Name:
		case p.Name == nil && p.SignerName != nil && b.Spec.SignerName == *p.SignerName && selector.Matches(labels.Set(b.Labels)):
		default:
			continue
		}
		out = append(out, b.Spec.TrustBundle)
	}
	switch {
	case len(out) > 0:
		return out, nil
	case p.Name != nil:
		return nil, fmt.Errorf("clustertrustbundle %q: %w", *p.Name, errNoBundle)
	}
	return nil, fmt.Errorf("combination of signerName and labelSelector matched zero ClusterTrustBundles: %w", errNoBundle)
}

// shuffle orders anchors differently on every start of the daemon, so that nobody comes to rely on an order.
var shuffle = func() uint64 {
	var b [8]byte
	rand.Read(b[:])
	n := uint64(0)
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return n
}()

func anchors(bundles []string) []byte {
	seen := map[string]bool{}
	for _, b := range bundles {
		for rest := []byte(b); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			seen[string(block.Bytes)] = true
		}
	}
	all := slices.Sorted(maps.Keys(seen))
	mathrand.New(mathrand.NewPCG(shuffle, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	out := []byte{}
	for _, der := range all {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)})...)
	}
	return out
}

// applied is a list after one event of its watch; the list before is not changed, others may be reading it.
func applied(before *certificatesv1.ClusterTrustBundleList, ev watch.Event) *certificatesv1.ClusterTrustBundleList {
	b, ok := ev.Object.(*certificatesv1.ClusterTrustBundle)
	if !ok {
		return before
	}
	next := &certificatesv1.ClusterTrustBundleList{ListMeta: metav1.ListMeta{ResourceVersion: b.ResourceVersion}}
	if before != nil {
		next.Items = slices.DeleteFunc(slices.Clone(before.Items), func(o certificatesv1.ClusterTrustBundle) bool { return o.Name == b.Name })
	}
	if ev.Type != watch.Deleted {
		next.Items = append(next.Items, *b)
	}
	return next
}
