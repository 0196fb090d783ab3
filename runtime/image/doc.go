// Package image is the image store: pulling, importing, verifying and unpacking OCI and Docker images.
//
// # State on disk
//
//	<Dir>/blobs/sha256/<hex>            manifests and configs (layers are unpacked and not kept)
//	<Dir>/ingest/<digest>                partial downloads, resumed by range
//	<Dir>/layers/<chain id>/fs           one unpacked layer, shared by every image that has it
//	<Dir>/index.json                     names → image ids
//
// Everything is verified by digest before it gets its final name, and gets it by rename.
package image
