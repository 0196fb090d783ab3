// Package podrefs says which API objects a pod refers to. Admission, the node authorizer and the kubelet ask the same question, and a
// different answer in one of them is a way out of the node's box: what the authorizer lets a node read because "its" pod names it,
// admission must not have let the node write into that pod. So there is one answer, here.
//
// testdata/fields.txt lists every field of a pod and of a PersistentVolume that holds text, and what it names; a test walks the API types, so that a
// field of a later version of the API cannot be forgotten.
//
// The package decides and does nothing, and allocates nothing.
package podrefs
