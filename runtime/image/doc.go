// Package image is the image store: pulling, importing, verifying and unpacking OCI and Docker images.
//
// # State on disk
//
//	<Dir>/lock                            held while a process has the store open
//	<Dir>/blobs/sha256/<hex>              manifests and configs (layers are unpacked and not kept)
//	<Dir>/ingest/<hex>                    partial downloads, resumed by range; and archives while they are imported
//	<Dir>/layers/<hex of chain id>/fs     one unpacked layer, shared by every image that has it
//	<Dir>/layers/<hex of chain id>/layer.json  its size and digests
//	<Dir>/layers/.tmp-*, .rm-*            half-made and half-deleted ones; removed at Open
//	<Dir>/index.json, index.json.old      names → image ids; the last and the one before
//	<Dir>/index.json.damaged              what was set aside
//
// Everything is verified by digest before it gets its final name, and gets it by rename after its file system was synced:
// a power cut at any instant leaves the old state or the new one. A layer is unpacked while it downloads; no layer is ever
// held in memory.
//
// # Goroutines
//
// The store has none of its own. Pull and Import start a bounded number and wait for them.
//
// # Invariants
//
// An image in the index has its config and all its layers. A layer's contents are named by its chain ID, so they depend on
// nothing but the layers below it. A layer that a running Pull or Import needs is pinned and survives Remove.
package image
