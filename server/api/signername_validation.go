package api

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// signerName checks the name of who signs certificates: a domain of two labels at least, a slash, a path with dots.
func (c *check) signerName(at *field.Path, name string) {
	if !c.needs(at, name) {
		return
	}
	domain, path, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(path, "/") {
		c.invalid(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
		return
	}
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		c.add(field.TooLong(at, "", validation.DNS1123SubdomainMaxLength))
	}
	c.everyLabel(at, domain, validation.IsDNS1123Label)
	if !strings.Contains(domain, ".") {
		c.invalid(at, domain, "should be a domain with at least two segments separated by dots")
	}
	c.everyLabel(at, path, validation.IsDNS1123Subdomain)
	const longest = validation.DNS1123SubdomainMaxLength + 1 + validation.DNS1123SubdomainMaxLength + 1 + validation.DNS1123LabelMaxLength
	if len(name) > longest {
		c.add(field.TooLong(at, "", longest))
	}
}

// everyLabel reports the first label between dots that is not as it should be.
func (c *check) everyLabel(at *field.Path, value string, format func(string) []string) {
	for _, label := range strings.Split(value, ".") {
		if wrong := format(label); len(wrong) > 0 {
			for _, w := range wrong {
				c.invalid(at, value, fmt.Sprintf("validating label %q: %s", label, w))
			}
			return
		}
	}
}

// ownSigner says whether the signer is one of Kubernetes itself.
func ownSigner(name string) bool {
	domain, _, _ := strings.Cut(name, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}
