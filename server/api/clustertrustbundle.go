package api

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func clusterTrustBundle() *Kind {
	type bundle = *certificatesv1.ClusterTrustBundle
	return &Kind{
		Group: "certificates.k8s.io", Kind: "ClusterTrustBundle", Plural: "clustertrustbundles", Singular: "clustertrustbundle",
		Versions: []Version{typed[certificatesv1.ClusterTrustBundle, certificatesv1.ClusterTrustBundleList]("certificates.k8s.io", "v1")},
		Prefix:   "/registry/clustertrustbundles",
		Strategy: Strategy{
			Validate:       one(func(b bundle) fieldErrors { return checkTrustBundle(b, true) }),
			ValidateUpdate: pair(validateClusterTrustBundleUpdate),
			// What else a name has to be hangs on the signer.
			ValidateName: func(name string, _ bool) []string { return content.IsPathSegmentName(name) },
		},
		Columns: []Column{
			str("SignerName", "signer whose roots these are", func(b bundle) string { return orNone(b.Spec.SignerName) }),
		},
		Fields:     one(func(b bundle) fields.Set { return fields.Set{"spec.signerName": b.Spec.SignerName} }),
		FieldNames: []string{"spec.signerName"},
	}
}

const maxTrustBundle = 1 << 20

func checkTrustBundle(b *certificatesv1.ClusterTrustBundle, anchors bool) fieldErrors {
	c, spec, signer := &check{}, at("spec"), b.Spec.SignerName
	if len(content.IsPathSegmentName(b.Name)) == 0 {
		c.invalid(at("metadata", "name"), b.Name, trustBundleName(b.Name, signer)...)
	}
	if signer != "" {
		c.signerName(spec.Child("signerName"), signer)
	}
	if anchors {
		c.trustAnchors(spec.Child("trustBundle"), b.Spec.TrustBundle)
	}
	return c.errs
}

// trustBundleName: the bundles of a signer are named after it, with colons for slashes; the others have no colon.
func trustBundleName(name, signer string) []string {
	if signer == "" {
		if strings.Contains(name, ":") {
			return []string{"ClusterTrustBundle without signer name must not have \":\" in its name"}
		}
		return apivalidation.NameIsDNSSubdomain(name, false)
	}
	prefix := strings.ReplaceAll(signer, "/", ":") + ":"
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, prefix)}
	}
	return apivalidation.NameIsDNSSubdomain(rest, false)
}

// trustAnchors checks PEM that shall hold different certificates of authorities and nothing else.
func (c *check) trustAnchors(at *field.Path, text string) {
	if len(text) > maxTrustBundle {
		c.add(field.TooLong(at, "", maxTrustBundle))
		return
	}
	before, indices := len(c.errs), map[string][]int{}
	rest := []byte(text)
	for i := 0; ; i++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if wrong := wrongAnchor(b); wrong != "" {
			c.invalid(at, "<value omitted>", fmt.Sprintf("entry %d %s", i, wrong))
			continue
		}
		indices[string(b.Bytes)] = append(indices[string(b.Bytes)], i)
	}
	if len(c.errs) > before {
		return
	}
	if len(indices) == 0 {
		c.invalid(at, "<value omitted>", "at least one trust anchor must be provided")
	}
	var twice [][]int
	for _, list := range indices {
		if len(list) > 1 {
			twice = append(twice, list)
		}
	}
	slices.SortFunc(twice, slices.Compare[[]int])
	for _, list := range twice {
		c.invalid(at, "<value omitted>", fmt.Sprintf("duplicate trust anchor (indices %v)", list))
	}
}

func wrongAnchor(b *pem.Block) string {
	if b.Type != "CERTIFICATE" {
		return "has bad block type: " + b.Type
	}
	if len(b.Headers) > 0 {
		return "has PEM block headers"
	}
	switch cert, err := x509.ParseCertificate(b.Bytes); {
	case err != nil:
		return "does not parse as X.509"
	case !cert.IsCA:
		return "does not have the CA bit set"
	case !cert.BasicConstraintsValid:
		return "has invalid basic constraints"
	}
	return ""
}

// validateClusterTrustBundleUpdate: roots that did not change are not looked at again.
func validateClusterTrustBundleUpdate(b, old *certificatesv1.ClusterTrustBundle) fieldErrors {
	c := &check{errs: checkTrustBundle(b, b.Spec.TrustBundle != old.Spec.TrustBundle)}
	c.immutable(at("spec", "signerName"), b.Spec.SignerName, old.Spec.SignerName)
	return c.errs
}
