package admission

import (
	"slices"
	"strings"
	"testing"
)

func names(table []entry) (out []string) {
	for _, e := range table {
		out = append(out, e.name)
	}
	return out
}

func TestChoose(t *testing.T) {
	table := []entry{{name: "Priority"}, {name: "ServiceAllocator", mode: own}, {name: "AlwaysPullImages", mode: off}, {name: "ServiceAccount"}}
	for _, test := range []struct {
		enabled, disabled []string
		want, err         string
	}{
		{want: "Priority ServiceAllocator ServiceAccount"},
		{enabled: []string{"AlwaysPullImages", "Priority"}, want: "Priority ServiceAllocator AlwaysPullImages ServiceAccount"},
		{disabled: []string{"ServiceAccount", "AlwaysPullImages", "ImagePolicyWebhook"}, want: "Priority ServiceAllocator"},
		{enabled: []string{"NoSuchPlugin"}, err: `admission plugin "NoSuchPlugin" is unknown; known are [AlwaysPullImages ImagePolicyWebhook Priority ServiceAccount]`},
		{disabled: []string{"Prioritee"}, err: `"Prioritee" is unknown; known are [`},
		{enabled: []string{""}, err: `"" is unknown`},
		{disabled: []string{"ServiceAllocator"}, err: "belongs to the API server itself"},
		{enabled: []string{"ServiceAllocator"}, err: "belongs to the API server itself"},
		{enabled: []string{"ImagePolicyWebhook"}, err: "ImagePolicyWebhook: webhooks for ImageReviews are not there"},
		{enabled: []string{"Priority"}, disabled: []string{"Priority"}, err: "both name Priority"},
	} {
		got, err := choose(table, test.enabled, test.disabled)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("enable %v, disable %v: got %v, want %q", test.enabled, test.disabled, err, test.err)
			}
		} else if s := strings.Join(names(got), " "); err != nil || s != test.want {
			t.Errorf("enable %v, disable %v: got %s, %v; want %s", test.enabled, test.disabled, s, err, test.want)
		}
	}
}

// TestEveryPluginOfUpstream holds the table against the names, the order and the defaults of v1.37
// (kube-apiserver --help; pkg/kubeapiserver/options/plugins.go).
func TestEveryPluginOfUpstream(t *testing.T) {
	order := strings.Fields(`AlwaysAdmit NamespaceAutoProvision NamespaceLifecycle NamespaceExists LimitPodHardAntiAffinityTopology LimitRanger
		ServiceAccount NodeRestriction TaintNodesByCondition AlwaysPullImages ImagePolicyWebhook PodSecurity PodNodeSelector Priority
		DefaultTolerationSeconds PodTolerationRestriction EventRateLimit ExtendedResourceToleration DefaultStorageClass
		StorageObjectInUseProtection PodGroupProtection OwnerReferencesPermissionEnforcement PersistentVolumeClaimResize RuntimeClass
		CertificateApproval CertificateSigning ClusterTrustBundleAttest CertificateSubjectRestriction DefaultIngressClass
		DenyServiceExternalIPs PodTopologyLabels NodeDeclaredFeatureValidator PodResizeValidator MutatingAdmissionPolicy
		MutatingAdmissionWebhook ValidatingAdmissionPolicy ValidatingAdmissionWebhook ResourceQuota AlwaysDeny`)
	// NodeRestriction is off in upstream's executable and on in every distribution of it.
	defaultOff := strings.Fields(`AlwaysAdmit NamespaceAutoProvision NamespaceExists LimitPodHardAntiAffinityTopology AlwaysPullImages PodNodeSelector
		PodTolerationRestriction EventRateLimit ExtendedResourceToleration OwnerReferencesPermissionEnforcement DenyServiceExternalIPs AlwaysDeny`)
	var have, without []string
	for _, e := range entries {
		if e.mode == own {
			continue
		}
		have = append(have, e.name)
		if e.mode == off {
			without = append(without, e.name)
		}
	}
	want := slices.DeleteFunc(slices.Clone(order), func(name string) bool { return absent[name] != "" })
	if !slices.Equal(have, want) {
		t.Errorf("plugins:\n got %v\nwant %v", have, want)
	}
	if !slices.Equal(without, defaultOff) {
		t.Errorf("off by default:\n got %v\nwant %v", without, defaultOff)
	}
	for name := range absent {
		if !slices.Contains(order, name) {
			t.Errorf("%s is said to be absent, but no plugin of upstream's", name)
		}
	}
}
