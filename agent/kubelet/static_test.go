package kubelet

import (
	"strings"
	"testing"
)

// TestStaticPodRefersToNothing: a file cannot make the node read the API for it, and says so when it is read, not when the mirror is refused.
func TestStaticPodRefersToNothing(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  priorityClassName: system-node-critical\n  containers:\n  - {name: c, image: i}\n"
	for volume, want := range map[string]string{
		"":                                     "",
		"  volumes:\n  - {name: v}\n":          "",
		"  serviceAccountName: admin\n":        "serviceaccounts",
		"  imagePullSecrets: [{name: pull}]\n": "secrets",
		"  volumes:\n  - {name: v, hostPath: {path: /srv}}\n":                                        "",
		"  volumes:\n  - {name: v, configMap: {name: c}}\n":                                          "configmaps",
		"  volumes:\n  - {name: v, csi: {driver: d, nodePublishSecretRef: {name: s}}}\n":             "secrets",
		"  volumes:\n  - {name: v, projected: {sources: [{configMap: {name: c}}]}}\n":                "configmaps",
		"  resourceClaims:\n  - {name: gpu, resourceClaimName: c}\n":                                 "resourceclaims",
		"  volumes:\n  - {name: v, projected: {sources: [{podCertificate: {signerName: a.b/c}}]}}\n": "signers",
	} {
		_, err := parseStatic([]byte(head+volume), "/f.yaml", "n1")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), "static pods may not reference "+want)) {
			t.Errorf("%q: %v, want %q", volume, err, want)
		}
	}
}
