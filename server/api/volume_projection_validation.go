package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// projections checks the sources of a projected volume, and that no two of them write the same file.
func (c *check) projections(at *field.Path, sources []corev1.VolumeProjection,
	items func(*field.Path, []corev1.KeyToPath), downward func(*field.Path, []corev1.DownwardAPIVolumeFile)) {
	seen := map[string]bool{}
	file := func(paths ...string) {
		for _, p := range paths {
			if p != "" && seen[p] {
				c.invalid(at, p, "conflicting duplicate paths")
			}
			seen[p] = true
		}
	}
	keys := func(list []corev1.KeyToPath) {
		for _, i := range list {
			file(i.Path)
		}
	}
	for i := range sources {
		s, path := &sources[i], at.Child("sources").Index(i)
		if c.onlyOne(path, *s, "volume type"); s.Secret != nil {
			c.needs(path.Child("secret", "name"), s.Secret.Name)
			items(path.Child("secret", "items"), s.Secret.Items)
			keys(s.Secret.Items)
		}
		if s.ConfigMap != nil {
			c.needs(path.Child("configMap", "name"), s.ConfigMap.Name)
			items(path.Child("configMap", "items"), s.ConfigMap.Items)
			keys(s.ConfigMap.Items)
		}
		if s.DownwardAPI != nil {
			downward(path.Child("downwardAPI", "items"), s.DownwardAPI.Items)
			for _, i := range s.DownwardAPI.Items {
				file(i.Path)
			}
		}
		if t := s.ServiceAccountToken; t != nil {
			c.projectedToken(path.Child("serviceAccountToken"), t)
			file(t.Path)
		}
		if b := s.ClusterTrustBundle; b != nil {
			c.projectedBundle(path.Child("clusterTrustBundle"), b)
			file(b.Path)
		}
		if p := s.PodCertificate; p != nil {
			c.projectedCertificate(path.Child("podCertificate"), p)
			file(p.CredentialBundlePath, p.KeyPath, p.CertificateChainPath)
		}
	}
}

func (c *check) projectedToken(at *field.Path, t *corev1.ServiceAccountTokenProjection) {
	if seconds := deref(t.ExpirationSeconds); seconds < 600 {
		c.invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes")
	} else if seconds > 1<<32 {
		c.invalid(at.Child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds")
	}
	if c.needs(at.Child("path"), t.Path) {
		c.insidePath(at.Child("path"), t.Path)
	}
}

// projectedBundle checks roots that are named, or those of a signer.
func (c *check) projectedBundle(at *field.Path, b *corev1.ClusterTrustBundleProjection) {
	switch {
	case b.Name != nil && b.SignerName != nil:
		c.invalid(at, b, "only one of name and signerName may be used")
	case b.Name != nil:
		if *b.Name == "" {
			c.required(at.Child("name"), "must be a valid object name")
		}
		signer := ""
		if i := strings.LastIndex(*b.Name, ":"); i >= 0 {
			signer = strings.ReplaceAll((*b.Name)[:i], ":", "/")
		}
		for _, wrong := range trustBundleName(*b.Name, signer) {
			c.invalid(at.Child("name"), *b.Name, "not a valid clustertrustbundlename: "+wrong)
		}
		if b.LabelSelector != nil {
			c.invalid(at.Child("labelSelector"), b.LabelSelector, "labelSelector must be unset if name is specified")
		}
	case b.SignerName != nil:
		if *b.SignerName == "" {
			c.required(at.Child("signerName"), "must be a valid signer name")
		}
		c.signerName(at.Child("signerName"), *b.SignerName)
		if b.LabelSelector != nil {
			c.selector(at.Child("labelSelector"), b.LabelSelector)
		}
	default:
		c.required(at, "either name or signerName must be specified")
	}
	if c.needs(at.Child("path"), b.Path) {
		c.insidePath(at.Child("path"), b.Path)
	}
}

// projectedCertificate checks what the kubelet shall ask a signer for, and where it writes it.
func (c *check) projectedCertificate(at *field.Path, p *corev1.PodCertificateProjection) {
	c.signerName(at.Child("signerName"), p.SignerName)
	c.userAnnotations(at.Child("userAnnotations"), p.UserAnnotations)
	keyTypes := []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}
	known := false
	for _, t := range keyTypes {
		known = known || t == p.KeyType
	}
	if !known {
		c.add(field.NotSupported(at.Child("keyType"), p.KeyType, keyTypes))
	}
	if n := p.MaxExpirationSeconds; n != nil {
		if *n < minPodCertificateSeconds {
			c.invalid(at.Child("maxExpirationSeconds"), *n, fmt.Sprintf("if provided, maxExpirationSeconds must be >= %d", minPodCertificateSeconds))
		}
		most := int32(maxPodCertificateSeconds)
		if ownSigner(p.SignerName) {
			most = maxOwnCertificateSeconds
		}
		if *n > most {
			c.invalid(at.Child("maxExpirationSeconds"), *n, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most))
		}
	}
	some := false
	for _, f := range []struct{ name, path string }{
		{"credentialBundlePath", p.CredentialBundlePath}, {"keyPath", p.KeyPath}, {"certificateChainPath", p.CertificateChainPath},
	} {
		if f.path != "" {
			some = true
			c.insidePath(at.Child(f.name), f.path)
		}
	}
	if !some {
		c.required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath")
	}
}

// podClaims checks the device claims that a pod names, and returns their names.
func (c *check) podClaims(at *field.Path, claims []corev1.PodResourceClaim) map[string]bool {
	names := map[string]bool{}
	for i, r := range claims {
		path := at.Index(i)
		switch {
		case r.Name == "":
			c.required(path.Child("name"), "")
		case names[r.Name]:
			c.add(field.Duplicate(path.Child("name"), r.Name))
		default:
			c.invalid(path.Child("name"), r.Name, validation.IsDNS1123Label(r.Name)...)
			names[r.Name] = true
		}
		switch direct, template := r.ResourceClaimName != nil, r.ResourceClaimTemplateName != nil; {
		case direct && template:
			c.invalid(path, r, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified")
		case !direct && !template:
			c.invalid(path, r, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
		}
		if n := r.ResourceClaimName; n != nil {
			c.invalid(path.Child("resourceClaimName"), *n, subdomain(*n)...)
		}
		if n := r.ResourceClaimTemplateName; n != nil {
			c.invalid(path.Child("resourceClaimTemplateName"), *n, subdomain(*n)...)
		}
	}
	return names
}
