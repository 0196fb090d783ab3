package keeper

// The C files of this folder are compiled and linked by cgo; nothing is called from Go.

// #cgo CFLAGS: -Wall -O2
import "C"
