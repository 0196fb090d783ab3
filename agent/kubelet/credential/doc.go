// Package credential asks programs for the credentials of image registries: upstream's exec plugins (KEP-2133), which cloud vendors ship.
//
//	--image-credential-provider-config   a CredentialProviderConfig (kubelet.config.k8s.io/v1)
//	--image-credential-provider-bin-dir  where the programs are, by the providers' names
//
// A program gets a CredentialProviderRequest (credentialprovider.kubelet.k8s.io/v1) on standard input and answers with a
// CredentialProviderResponse on standard output. Answers are kept in memory for as long as they say. Nothing runs before an image is pulled
// that a provider is for.
package credential
