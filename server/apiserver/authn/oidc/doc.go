// Package oidc authenticates people by the ID tokens of OpenID Connect providers: issuers, claim mappings and CEL rules as
// upstream's AuthenticationConfiguration (apiserver.config.k8s.io) has them, or the flags --oidc-*, which make the same of one
// issuer.
//
// # A provider that is down
//
// New reaches no network. Run asks each provider for its discovery document, again and again until it answers; until then
// tokens of that issuer are refused, and everything else works. Keys are fetched when a token names one that is not known,
// at most once a second, so that made-up tokens cannot turn the server against the provider.
//
// # Goroutines
//
// Run has one for each issuer until its provider has answered. A token is verified on its caller's.
//
// It must never accept a token before signature, issuer, audience and times have been checked, nor put a token into an error.
// Distributed claims are not resolved.
package oidc
