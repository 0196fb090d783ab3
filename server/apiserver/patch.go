package apiserver

import (
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
	"codeberg.org/skiff/skiff/server/registry/patch"
)

// patch serves the four kinds of PATCH; what a body means is registry/patch's.
func (q *request) patch() error {
	mediaType := negotiate.ContentType(q.r)
	opts, err := q.patchOptions(types.PatchType(mediaType))
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	body, err := readBody(q.r, *buf)
	if err != nil {
		return err
	}
	*buf = body
	q.auditPatch(body)
	transform, update, err := patch.New(mediaType, body, patch.Options{
		Kind: q.kind, Version: q.version, Subresource: q.path.sub,
		FieldValidation: opts.validation, FieldManager: opts.manager, Force: opts.force, Warn: q.warn,
	})
	if err != nil {
		return err
	}
	out, created, err := q.cfg.Registry.Update(q.r.Context(), q.registryRequest(opts.dryRun, opts.manager), transform, update)
	if err != nil {
		return err
	}
	return q.respondWritten(out, created)
}
