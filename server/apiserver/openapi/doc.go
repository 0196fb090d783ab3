// Package openapi describes the API in OpenAPI v2 and v3, from the Go types of the catalogue by reflection and from their
// SwaggerDoc: enough for kubectl explain, for apply and for validation by clients. Nothing is made before somebody asks;
// what was made is kept compressed, until the catalogue changes. It starts no goroutine.
//
// Go types do not say everything that upstream's generated documents say: enums, defaults and list types are markers in
// comments there, and are left out here. Patch strategies and merge keys are struct tags, and are in.
package openapi
