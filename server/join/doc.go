// Package join is the server's half of joining a node: it checks who asks and signs the node's certificates.
//
// A caller shows a join token (server or agent kind), or the valid client certificate of the node it asks for. A token
// alone is not enough for a name that is taken: the node's first join registers a password, whose salted hash is the
// Secret kube-system/<node>.node-password.skiff, and later joins must show it. When the Node is deleted its password is
// forgotten, so that a reinstalled machine can come back under its name.
//
// Nothing but the public key is taken from a signing request. A serving certificate is signed by an authority that only servers trust, and only
// towards kubelets; it names the node and addresses that belong to no server, no Service and no other node (Reserved).
//
// The public key of a node's client certificate is remembered beside its password: a node that was off until its certificate expired comes back by that key.
//
// The handler is an http.Handler without goroutines; it is meant to be served without authentication in front of it.
package join
