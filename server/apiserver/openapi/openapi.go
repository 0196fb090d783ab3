package openapi

import (
	"net/http"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/discovery"
)

// Documents of a catalogue.
type Documents struct{}

// New makes nothing yet.
func New(*api.Catalogue, string) *Documents { return &Documents{} }

// Get a document.
func (d *Documents) Get(string, *http.Request) (discovery.Document, bool, error) {
	return discovery.Document{}, false, nil
}
