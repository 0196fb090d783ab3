package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"codeberg.org/skiff/skiff/scripts/testbox"
)

// mirror serves the images of archives to the nodes of a box, in place of the registries that their names begin with. It returns what
// the nodes' registries.yaml is to say.
func mirror(box *testbox.Box, archives []string) (config string, err error) {
	l, err := box.Listen("tcp", testbox.LANAddress+":5001")
	if err != nil {
		return "", err
	}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	hosts, err := fill(handler, archives)
	if err != nil {
		return "", err
	}
	go func() { log.Print(http.Serve(l, handler)) }() //nolint:gosec // lives as long as the program
	var b strings.Builder
	b.WriteString("mirrors:\n")
	for _, host := range hosts {
		fmt.Fprintf(&b, "  %s: {endpoint: ['http://%s']}\n", host, l.Addr())
	}
	return b.String(), nil
}

// fill pushes the images and returns the registries that they are named after.
func fill(handler http.Handler, archives []string) (hosts []string, err error) {
	front := httptest.NewServer(handler) // loopback
	defer front.Close()
	for _, archive := range archives {
		open := func() (io.ReadCloser, error) { return os.Open(archive) }
		manifest, err := tarball.LoadManifest(open)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
		for _, d := range manifest {
			for _, tag := range d.RepoTags {
				ref, err := name.NewTag(tag)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", archive, err)
				}
				image, err := tarball.Image(open, &ref)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", archive, err)
				}
				to, err := name.NewTag(strings.TrimPrefix(front.URL, "http://")+"/"+ref.RepositoryStr()+":"+ref.TagStr(), name.Insecure)
				if err != nil {
					return nil, err
				}
				if err := remote.Write(to, image); err != nil {
					return nil, fmt.Errorf("%s: %w", archive, err)
				}
				if host := ref.RegistryStr(); !slices.Contains(hosts, host) {
					hosts = append(hosts, host)
				}
			}
		}
	}
	return hosts, nil
}
