// Package pki holds the cluster's keys: the certificate authorities, the leaf certificates they issue, the
// service-account tokens and the kubeconfigs.
//
// # Files, below Paths.TLS()
//
//	ca.crt, ca.key                        signs serving and client certificates
//	front-proxy-ca.crt, front-proxy-ca.key  signs the identity the API server shows to aggregated servers
//	service-account.key                   signs tokens; every *.key named service-account-*.key still verifies
//
// Files are made on first start, with mode 0600, by rename. Leaves of the server itself live in memory only: a
// [Rotating] issues a new one when two thirds of the life of the old one have passed, in the handshake that needs it.
// The package starts no goroutine and knows no API object.
package pki
