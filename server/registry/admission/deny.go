package admission

import (
	"context"

	"codeberg.org/skiff/skiff/server/registry"
)

// alwaysDeny refuses every write; nobody wants it outside of tests, but upstream has it.
func alwaysDeny() registry.Plugin {
	deny := func(_ context.Context, a *registry.Attributes) error {
		return forbidden(a, "admission control is denying all modifications")
	}
	return registry.Plugin{Name: "AlwaysDeny", Admit: deny, Validate: deny}
}
