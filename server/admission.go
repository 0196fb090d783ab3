package server

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/rbac"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/admission"
	"codeberg.org/skiff/skiff/server/registry/admission/settings"
)

// AdmissionConfig says which plugins look at writes, and what they are told.
type AdmissionConfig struct {
	// Enable and Disable name plugins that run, or do not, other than by default; by upstream's names.
	Enable, Disable []string
	// ConfigFile is an AdmissionConfiguration.
	ConfigFile string
	// NotReadySeconds and UnreachableSeconds are how long pods stay on such a node unless they say so themselves.
	NotReadySeconds, UnreachableSeconds int64
}

func (c *AdmissionConfig) addFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&c.Enable, "enable-admission-plugins", nil, "admission plugins that run in addition to those that run by default; by upstream's names")
	f.StringSliceVar(&c.Disable, "disable-admission-plugins", nil, "admission plugins that do not run, by upstream's names")
	f.StringVar(&c.ConfigFile, "admission-control-config-file", "", "file with an AdmissionConfiguration: settings of PodSecurity, EventRateLimit, PodNodeSelector, PodTolerationRestriction, ResourceQuota and webhooks")
	f.Int64Var(&c.NotReadySeconds, "default-not-ready-toleration-seconds", admission.DefaultTolerationSeconds, "seconds that a pod stays on a node that is not ready, unless it says so itself")
	f.Int64Var(&c.UnreachableSeconds, "default-unreachable-toleration-seconds", admission.DefaultTolerationSeconds, "seconds that a pod stays on an unreachable node, unless it says so itself")
}

// newAdmission makes the plugins. roles are asked for what authors of roles may give away.
func (s *Server) newAdmission(chain authz.Chain, roles *rbac.Authorizer) ([]registry.Plugin, error) {
	flags := &s.cfg.Admission
	its, err := settings.Load(flags.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("--admission-control-config-file: %w", err)
	}
	c := admission.Config{
		Store: s.store, Catalogue: s.catalogue, ServiceCIDRs: s.network.service, ReservedIPs: []netip.Addr{s.network.dns, s.network.apiService}, NodePortRange: s.cfg.NodePortRange,
		Authorizer: authz.Standard(chain), Extra: []registry.Plugin{roles.Escalation(chain)},
		Enabled: flags.Enable, Disabled: flags.Disable, Settings: its, NotReadySeconds: &flags.NotReadySeconds, UnreachableSeconds: &flags.UnreachableSeconds,
		EnsureNamespace: s.ensureNamespace, Log: s.cfg.Log.With("component", "admission"),
	}
	if c.Post, err = s.webhookPost(its.MutatingKubeconfig); err != nil {
		return nil, err
	}
	if c.PostValidating, err = s.webhookPost(its.ValidatingKubeconfig); err != nil {
		return nil, err
	}
	if !s.cfg.Features.Enabled("PodTopologyLabelsAdmission") {
		c.Disabled = append(slices.Clone(c.Disabled), "PodTopologyLabels")
	}
	return admission.Table(c)
}

// ensureNamespace makes a namespace; one that is there is as good.
func (s *Server) ensureNamespace(ctx context.Context, name string) error {
	_, err := s.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
