// Package kms seals values with keys that a key management service looks after (KMS v2): a plugin beside the server, which is
// asked over a unix socket in gRPC (k8s.io/kms). The plugin's own key never leaves it; it only encrypts and decrypts seeds.
//
// # What a value looks like
//
// After the prefix k8s:enc:kms:v2:<provider>: comes upstream's message EncryptedObject in protobuf (object.go). It holds the
// seed, encrypted by the plugin, the plugin's key id and annotations, and the value: 32 random bytes from which, with the
// seed, HKDF makes a key that is used once; then nonce, ciphertext and tag of AES-GCM, which authenticates the etcd key.
//
// # The key in force
//
//	                  Status: ok, key id K        Status: ok, key id K'
//	none ── Check ──▶ seed under K ── Check ──▶ the same for 3 more minutes ── Check ──▶ seed under K'
//	                      │ the plugin fails: sealing goes on until the 3 minutes are over, opening for as long as
//	                      ▼ the seed is remembered
//	                   expired
//
// Sealing asks nobody. Opening asks the plugin once for each seed, of which there is one a start and a key id. While the
// plugin does not answer it is asked at most once in five seconds, so that a thousand values fail at once and not after
// each other.
//
// The package starts no goroutine (gRPC has its own, until Close); [Provider.Check] is called by encrypt.Rotator.Run. It
// must never log or return a seed or a plain value.
package kms
