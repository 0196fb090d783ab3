//go:build ignore

// Pack writes the packed shim: go run runtime/shim/pack.go EXECUTABLE FILE.
package main

import (
	"bytes"
	"log"
	"os"

	"codeberg.org/skiff/skiff/runtime/shim"
)

func main() {
	executable, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var packed bytes.Buffer
	if err := shim.Pack(&packed, executable); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(os.Args[2], packed.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}
