// Command skiff-shim is the small executable from which skiff keeps and starts containers; package shim carries it. Whatever it does,
// package reexec does before main.
package main

import (
	"fmt"
	"os"

	_ "codeberg.org/skiff/skiff/runtime/reexec"
)

func main() {
	fmt.Fprintln(os.Stderr, "skiff-shim: skiff starts this program; it does nothing by hand")
	os.Exit(2)
}
