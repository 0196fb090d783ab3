// Package unpack writes one layer of an image, a tar stream, into a directory that overlayfs can use as a lower layer.
//
// The stream is hostile until proven otherwise: no entry may land outside the directory whatever links it or an earlier
// entry contains (package rootpath resolves every parent), sizes and counts are bounded before anything is written, and
// extended attributes that steer overlayfs itself are dropped. A whiteout ".wh.x" becomes a character device 0/0, and
// ".wh..wh..opq" the attribute trusted.overlay.opaque=y.
//
// A layer may name files in directories, or hard links to files, that only lower layers have. Layer records those and
// Complete fills them in from the lower layers, so layers can be unpacked in any order and at the same time.
//
// It has no goroutines and never holds more than one buffer of a file. It does not sync: the caller does, once.
package unpack
