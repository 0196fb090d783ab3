// Package openapi describes the API in OpenAPI v2 and v3, from the Go types of the catalogue by reflection and from their
// SwaggerDoc: enough for kubectl explain, for apply and for validation by clients, and for generators of clients. Nothing
// is made before somebody asks; what was made is kept compressed, until the catalogue changes or nobody asked for ten
// minutes. It runs no goroutine but a timer that forgets.
//
// # Where the facts come from
//
//   - fields, their types and documentation, patch strategies and merge keys: the Go types and their SwaggerDoc
//   - list types, map types, map keys, unions and defaults: the schema of server-side apply (registry/managedfields)
//   - enums: enums.txt, which a test holds to the sources of k8s.io/api
//   - documentation of types without SwaggerDoc: descriptions.txt
//   - what is required: the json tags, and the exceptions in required.go
//   - custom kinds: api.Version.Schema, which v2 shows with what it has no words for left out
//   - group versions of other servers: [Documents.SetForeign]
//
// # v2
//
// One document holds everything, so it is made of two parts: the built-in kinds, made once, and the custom and foreign
// ones, made again when they change. Its protobuf form is the two encodings one after the other, which protobuf reads as
// one message.
package openapi
