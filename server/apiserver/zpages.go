package apiserver

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// zpage is a page about the server itself, in upstream's two forms: text for people, and an object of a kind of config.k8s.io.
type zpage struct {
	kind string
	text string
	// fields of the object beside its type.
	fields map[string]any
}

const zHeader = "\napiserver %s\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n"

func (s *Server) statusz() zpage {
	up := s.cfg.Now().Sub(s.started)
	v := &s.cfg.Version
	paths := []string{"/configz", "/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/version"}
	text := fmt.Sprintf("\nStarted: %s\nUp: %s\nGo version: %s\nBinary version: %s\n\nPaths: %s\n", s.started.UTC().Format(time.UnixDate),
		up.Round(time.Second), v.GoVersion, v.GitVersion, strings.Join(paths, " "))
	return zpage{kind: "Statusz", text: text, fields: map[string]any{
		"startTime": metav1.NewTime(s.started), "uptimeSeconds": int64(up.Seconds()), "goVersion": v.GoVersion, "binaryVersion": v.GitVersion, "paths": paths,
	}}
}

func (s *Server) flagz() zpage {
	flags := s.cfg.Flags()
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		fmt.Fprintf(&text, "%s: %s\n", name, flags[name])
	}
	return zpage{kind: "Flagz", text: text.String(), fields: map[string]any{"flags": flags}}
}

// serveZPage answers in the form that the client asks for: text, or JSON and YAML for those who name the kind.
func (s *Server) serveZPage(w *response, r *http.Request, z zpage) error {
	const plain = "text/plain; charset=utf-8"
	if strings.TrimSpace(r.Header.Get("Accept")) == "" {
		return w.send(r, http.StatusOK, plain, []byte(fmt.Sprintf(zHeader, strings.ToLower(z.kind))+z.text))
	}
	for _, c := range negotiate.Accept(r) {
		if c.Params["as"] == "" && c.Is("text/plain") {
			return w.send(r, http.StatusOK, plain, []byte(fmt.Sprintf(zHeader, strings.ToLower(z.kind))+z.text))
		}
		version := c.Params["v"]
		if c.Params["as"] != z.kind || c.Params["g"] != "config.k8s.io" || version != "v1beta1" && version != "v1alpha1" {
			continue
		}
		if version == "v1alpha1" {
			w.Header().Add("Warning", `299 - "This version of the `+strings.ToLower(z.kind)+` endpoint is deprecated. Please use a newer version."`)
		}
		object := maps.Clone(z.fields)
		object["kind"], object["apiVersion"] = z.kind, "config.k8s.io/"+version
		object["metadata"] = map[string]any{"name": component}
		switch {
		case c.Is("application/json"):
			return s.sendJSON(w, r, object)
		case c.Is("application/yaml"):
			body, err := yaml.Marshal(object)
			if err != nil {
				return err
			}
			return w.send(r, http.StatusOK, "application/yaml", body)
		}
	}
	return errAccept([]string{"text/plain", "application/json", "application/yaml"})
}
