package server

import (
	"github.com/spf13/pflag"

	"codeberg.org/skiff/skiff/internal/fixedflag"
)

// upstreamFlags are those flags of kube-apiserver v1.37 that are no flags of ours.
var upstreamFlags = []fixedflag.Group{
	{Names: "allow-privileged", Accept: []string{"true"}, Reason: "privileged pods are kept off by Pod Security, in the labels of namespaces or with --admission-control-config-file"},
	{Names: "enable-priority-and-fairness enable-bootstrap-token-auth enable-garbage-collector service-account-lookup watch-cache enable-aggregator-routing", Accept: []string{"true"}, Reason: "it is always on"},
	{Names: "authentication-skip-lookup authentication-tolerate-lookup-failure aggregator-reject-forwarding-redirect", Reason: "it has no meaning here"},
	{Names: "service-account-extend-token-expiration", Accept: []string{"false"}, Reason: "tokens end when they say so"},
	{Names: "profiling contention-profiling debug-socket-path", Accept: []string{"false", ""}, Reason: "profiles are on a socket for root: --debug-socket"},
	{Names: "enable-logs-handler permit-port-sharing permit-address-sharing shutdown-send-retry-after disable-http2-serving audit-log-compress emulation-forward-compatible runtime-config-emulation-forward-compatible", Accept: []string{"false"}, Reason: "it is not there"},
	{Names: "storage-backend", Accept: []string{"etcd3"}, Reason: "objects are in the server's own etcd"},
	{Names: "storage-media-type", Accept: []string{"application/vnd.kubernetes.protobuf"}, Reason: "objects are stored as protobuf"},
	{Names: "endpoint-reconciler-type", Accept: []string{"lease"}, Reason: "the addresses of servers are looked after by the server"},
	{Names: "authorization-policy-file", Reason: "ABAC is not there; write its policy as RBAC roles"},
	{Names: "audit-log-version audit-webhook-version", Accept: []string{"audit.k8s.io/v1"}, Reason: "audit events are audit.k8s.io/v1"},
	{Names: "apiserver-count kubernetes-service-node-port goaway-chance max-connection-bytes-per-sec", Accept: []string{"0", "1"}, Reason: "it is not there"},

	{Names: "secure-port", Reason: "write --https-listen-port"},
	{Names: "service-cluster-ip-range", Reason: "write --service-cidr"},
	{Names: "external-hostname", Reason: "write --advertise-address and --tls-san"},
	{Names: "cert-dir tls-cert-file tls-private-key-file tls-sni-cert-key", Reason: "the server makes and renews its own certificates; --tls-san adds names"},
	{Names: "kubelet-certificate-authority kubelet-client-certificate kubelet-client-key proxy-client-cert-file proxy-client-key-file peer-ca-file", Reason: "the cluster's own authorities are used, in the server's tls folder"},
	{Names: "tls-curve-preferences", Reason: "Go chooses the curves"},
	{Names: "requestheader-client-ca-file requestheader-allowed-names requestheader-username-headers requestheader-uid-headers requestheader-group-headers requestheader-extra-headers-prefix", Reason: "the front proxy is the server's own, with the headers X-Remote-User, -Uid, -Group and -Extra-; its authority is tls/front-proxy-ca.crt"},
	{Names: "etcd-servers etcd-servers-overrides etcd-cafile etcd-certfile etcd-keyfile etcd-prefix etcd-compaction-interval etcd-count-metric-poll-period etcd-db-metric-poll-interval etcd-healthcheck-timeout etcd-readycheck-timeout lease-reuse-duration-seconds storage-initialization-timeout", Reason: "etcd runs inside the server"},
	{Names: "watch-cache-sizes default-watch-cache-size delete-collection-workers", Reason: "there is one cache of all objects, which needs no size"},
	{Names: "kubelet-timeout kubelet-preferred-address-types kubelet-read-only-port", Reason: "nodes are reached through their tunnels"},
	{Names: "authentication-kubeconfig authorization-kubeconfig kubeconfig authorization-always-allow-paths", Reason: "the server asks itself"},
	{Names: "audit-webhook-initial-backoff audit-webhook-batch-initial-backoff audit-log-batch-buffer-size audit-log-batch-max-size audit-log-batch-max-wait audit-log-batch-throttle-burst audit-log-batch-throttle-enable audit-log-batch-throttle-qps audit-log-truncate-enabled audit-log-truncate-max-batch-size audit-log-truncate-max-event-size audit-webhook-batch-buffer-size audit-webhook-batch-max-size audit-webhook-batch-max-wait audit-webhook-batch-throttle-burst audit-webhook-batch-throttle-enable audit-webhook-batch-throttle-qps audit-webhook-truncate-enabled audit-webhook-truncate-max-batch-size audit-webhook-truncate-max-event-size", Reason: "what may wait is bounded by --audit-buffer-bytes"},
	{Names: "encryption-provider-config-automatic-reload", Accept: []string{"false"}, Reason: "after a change restart the server and run skiff secrets-encrypt reencrypt; keys of kms plugins change without"},
	{Names: "admission-control", Reason: "write --enable-admission-plugins and --disable-admission-plugins"},
	{Names: "service-account-signing-endpoint", Reason: "tokens are signed with a key of the server, or that of --service-account-signing-key-file"},
	{Names: "egress-selector-config-file", Reason: "nodes are reached through their tunnels"},
	{Names: "tracing-config-file", Reason: "traces are not there"},
	{Names: "http2-max-streams-per-connection min-request-timeout livez-grace-period shutdown-delay-duration shutdown-watch-termination-grace-period cors-allowed-origins strict-transport-security-directives coordinated-leadership-lease-duration coordinated-leadership-renew-deadline coordinated-leadership-retry-period peer-advertise-ip peer-advertise-port", Reason: "it is not there"},
	{Names: "allow-metric-labels allow-metric-labels-manifest disabled-metrics show-hidden-metrics-for-version emulated-version min-compatibility-version", Reason: "it is not there"},
	{Names: "logging-format v vmodule log-flush-frequency log-json-info-buffer-size log-json-split-stream log-text-info-buffer-size log-text-split-stream", Reason: "write --log-level"},
}

// AddUpstreamFlags adds, unseen, what kube-apiserver has and nobody has added before. It comes after all other flags.
func AddUpstreamFlags(f *pflag.FlagSet) { fixedflag.Add(f, "kube-apiserver", upstreamFlags) }
