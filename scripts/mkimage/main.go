// Command mkimage packs files into a container image archive (docker-archive), for the demo and the tests, which
// have no registry to pull from:
//
//	mkimage -o web.tar -name example/web:v1 -entrypoint /web web=/web
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mkimage: ")
	out := flag.String("o", "", "archive to write")
	ref := flag.String("name", "", "name and tag of the image")
	entrypoint := flag.String("entrypoint", "", "command line, split at spaces")
	links := flag.String("links", "", "symbolic links, e.g. /bin/sh=busybox,/bin/ls=busybox")
	flag.Parse()
	if err := run(*out, *ref, strings.Fields(*entrypoint), *links, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(out, ref string, entrypoint []string, links string, files []string) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	data, err := layer(files, links)
	if err != nil {
		return err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return err
	}
	image, err = mutate.ConfigFile(image, configOf(image, entrypoint))
	if err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, image)
}

func configOf(image v1.Image, entrypoint []string) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		log.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.Entrypoint = entrypoint
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return config
}

// layer packs SOURCE=DESTINATION files and the links into one tar.
func layer(files []string, links string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{"/": true}
	for _, dir := range []string{"/etc", "/tmp"} {
		if err := mkdir(w, dir, made); err != nil {
			return nil, err
		}
	}
	for _, file := range files {
		source, destination, ok := strings.Cut(file, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not SOURCE=DESTINATION", file)
		}
		data, err := os.ReadFile(source)
		if err != nil {
			return nil, err
		}
		if err := mkdir(w, path.Dir(destination), made); err != nil {
			return nil, err
		}
		header := &tar.Header{Name: strings.TrimPrefix(destination, "/"), Mode: 0o755, Size: int64(len(data)), ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	for _, link := range strings.FieldsFunc(links, func(r rune) bool { return r == ',' }) {
		from, to, _ := strings.Cut(link, "=")
		if err := mkdir(w, path.Dir(from), made); err != nil {
			return nil, err
		}
		header := &tar.Header{Typeflag: tar.TypeSymlink, Name: strings.TrimPrefix(from, "/"), Linkname: to, Mode: 0o777, ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func mkdir(w *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := mkdir(w, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	mode := int64(0o755)
	if dir == "/tmp" {
		mode = 0o1777
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: mode, ModTime: time.Unix(0, 0)})
}
