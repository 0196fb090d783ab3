// Package table lists the controllers that a server runs: one line each.
package table

import (
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/bootstrapsigner"
	"codeberg.org/skiff/skiff/server/controller/clusterroleaggregation"
	"codeberg.org/skiff/skiff/server/controller/cronjob"
	"codeberg.org/skiff/skiff/server/controller/csrapproving"
	"codeberg.org/skiff/skiff/server/controller/csrcleaner"
	"codeberg.org/skiff/skiff/server/controller/csrsigning"
	"codeberg.org/skiff/skiff/server/controller/customresource"
	"codeberg.org/skiff/skiff/server/controller/daemonset"
	"codeberg.org/skiff/skiff/server/controller/deployment"
	"codeberg.org/skiff/skiff/server/controller/disruption"
	"codeberg.org/skiff/skiff/server/controller/endpoints"
	"codeberg.org/skiff/skiff/server/controller/endpointslice"
	"codeberg.org/skiff/skiff/server/controller/endpointslicemirroring"
	"codeberg.org/skiff/skiff/server/controller/garbage"
	"codeberg.org/skiff/skiff/server/controller/ipaddress"
	"codeberg.org/skiff/skiff/server/controller/job"
	"codeberg.org/skiff/skiff/server/controller/legacytokencleaner"
	"codeberg.org/skiff/skiff/server/controller/namespace"
	"codeberg.org/skiff/skiff/server/controller/nodeipam"
	"codeberg.org/skiff/skiff/server/controller/nodelifecycle"
	"codeberg.org/skiff/skiff/server/controller/nodettl"
	"codeberg.org/skiff/skiff/server/controller/notacted"
	"codeberg.org/skiff/skiff/server/controller/podcertificatecleaner"
	"codeberg.org/skiff/skiff/server/controller/podgc"
	"codeberg.org/skiff/skiff/server/controller/replicaset"
	"codeberg.org/skiff/skiff/server/controller/replication"
	"codeberg.org/skiff/skiff/server/controller/resourceclaim"
	"codeberg.org/skiff/skiff/server/controller/resourcequota"
	"codeberg.org/skiff/skiff/server/controller/rootca"
	"codeberg.org/skiff/skiff/server/controller/serviceaccount"
	"codeberg.org/skiff/skiff/server/controller/serviceaccounttoken"
	"codeberg.org/skiff/skiff/server/controller/servicecidr"
	"codeberg.org/skiff/skiff/server/controller/statefulset"
	"codeberg.org/skiff/skiff/server/controller/storageprotection"
	"codeberg.org/skiff/skiff/server/controller/storageversionmigrator"
	"codeberg.org/skiff/skiff/server/controller/tainteviction"
	"codeberg.org/skiff/skiff/server/controller/tokencleaner"
	"codeberg.org/skiff/skiff/server/controller/trustbundle"
	"codeberg.org/skiff/skiff/server/controller/ttlafterfinished"
	"codeberg.org/skiff/skiff/server/controller/validatingadmissionpolicy"
)

// Config is what the controllers have to know beside the objects.
type Config struct {
	Now func() time.Time
	// CABundle is published to every namespace.
	CABundle []byte
	// NodeRanges are where nodes get their pod CIDRs from.
	NodeRanges []nodeipam.Range
	// ServiceRanges are what the default ServiceCIDR holds.
	ServiceRanges []netip.Prefix
	// NodeLifecycle says when a node counts as lost, and how many may lose their pods. Its Now is not used.
	NodeLifecycle nodelifecycle.Config
	// LegacyTokenPeriod is how long a token that the cluster once made may be unused; 0 for upstream's default.
	LegacyTokenPeriod time.Duration
	// TerminatedPodThreshold is how many finished pods stay; 0 for all of them.
	TerminatedPodThreshold int
	// Signing is what signs certificates; its Now is not used. IssueToken signs the tokens that live in Secrets.
	Signing    csrsigning.Config
	IssueToken serviceaccounttoken.Issue
	// KubeletCABundle is published for those that scrape kubelets.
	KubeletCABundle []byte
	// Foreign is the way to what other API servers keep; nil for none.
	Foreign controller.Foreign
}

func (c *Config) signing() csrsigning.Config {
	out := c.Signing
	out.Now = c.Now
	return out
}

// OfAPIServer are the loops that make the API itself work: upstream runs them in its API server.
func OfAPIServer(c Config) []controller.Controller {
	return []controller.Controller{
		customresource.New(c.Now),
		servicecidr.New(c.Now, c.ServiceRanges),
		ipaddress.New(),
		trustbundle.New(trustbundle.APIServerServing, c.CABundle),
		trustbundle.New(trustbundle.KubeletServing, c.KubeletCABundle),
		storageversionmigrator.New(c.Now),
		resourceclaim.New(),
	}
}

// Controllers returns all of them.
func Controllers(c Config) []controller.Controller {
	c.NodeLifecycle.Now = c.Now
	if c.LegacyTokenPeriod == 0 {
		c.LegacyTokenPeriod = legacytokencleaner.DefaultPeriod
	}
	return append(OfAPIServer(c), []controller.Controller{
		serviceaccount.New(),
		rootca.New(c.CABundle),
		serviceaccounttoken.New(c.IssueToken, c.CABundle),
		tokencleaner.New(c.Now),
		legacytokencleaner.New(c.Now, c.LegacyTokenPeriod),
		bootstrapsigner.New(c.Now),
		csrapproving.New(),
		csrsigning.New(c.signing()),
		csrcleaner.New(c.Now),
		podcertificatecleaner.New(c.Now),
		clusterroleaggregation.New(),
		namespace.New(func() metav1.Time { return metav1.NewTime(c.Now()) }, c.Foreign),
		garbage.New(c.Foreign),
		nodeipam.New(c.NodeRanges),
		nodelifecycle.New(c.NodeLifecycle),
		nodettl.New(),
		tainteviction.New(c.Now),
		podgc.New(c.Now, c.TerminatedPodThreshold),
		deployment.New(c.Now),
		replicaset.New(c.Now),
		replication.New(c.Now),
		daemonset.New(c.Now),
		statefulset.New(c.Now),
		job.New(c.Now),
		cronjob.New(c.Now),
		disruption.New(c.Now),
		disruption.NewStale(c.Now),
		endpointslice.New(),
		endpoints.New(),
		endpointslicemirroring.New(),
		ttlafterfinished.New(c.Now),
		resourcequota.New(c.Now),
		validatingadmissionpolicy.New(),
		storageprotection.NewClaims(),
		storageprotection.NewVolumes(),
		storageprotection.NewAttributesClasses(),
		notacted.New(c.Now),
	}...)
}
