// Package encrypt turns what goes into etcd into ciphertext and back, so that a stolen disk or backup tells no secrets.
//
// # What a value looks like
//
//	k8s:enc:aesgcm:v1:<key name>:<12 bytes nonce><ciphertext and tag>     the etcd key is additional authenticated data
//	k8s:enc:secretbox:v1:<key name>:<24 bytes nonce><box>
//	k8s:enc:aescbc:v1:<key name>:<16 bytes iv><ciphertext, PKCS #7>       only for data that come from elsewhere
//	k8s:enc:kms:v2:<provider>:<EncryptedObject>                           the key is a plugin's: see package kms
//	anything else is not encrypted
//
// These are upstream's forms: an etcd of another distribution opens with its EncryptionConfiguration, and the other way
// round. Because the etcd key is authenticated, a value copied to another key (one namespace's secret to another's) does
// not open there.
//
// # Where the keys are
//
// In one file, [File]: an EncryptionConfiguration (apiserver.config.k8s.io/v1) in the server's tls folder, mode 0600, made
// at the first start and always replaced by rename. Keys are named skiff-1, skiff-2 …; the first of the list is the one that
// is written with. Or in a file that the operator brings and looks after, which is never written.
//
// # Rotation
//
// [Rotator] moves from one key to the next in steps, each of which is safe to be cut off: what a step needs to be finished is
// to be seen in the file and in the values themselves. See rotate.go for the diagram.
//
// Plugins for keys are asked before the store opens ([Rotator.Prepare]) and once a minute by [Rotator.Run], which is the
// package's only goroutine and ends with its context.
//
// The package knows no etcd, and must never log or return a key or a plain value. Transformers are
// immutable and safe for concurrent use; [Live] changes from one to the next in one step.
package encrypt
