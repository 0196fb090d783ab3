// Package httpapi is the node's HTTPS endpoint, for the API server and for metrics: logs, exec, attach, port-forward, run,
// pods, stats, metrics and health. It knows no worker: everything it shows comes through [Node].
//
// A caller shows a client certificate of the cluster's CA or a bearer token; an [Authorizer] decides about every path, /healthz too.
package httpapi
