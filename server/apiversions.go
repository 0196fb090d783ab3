package server

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kubernetes "k8s.io/client-go/kubernetes/scheme"

	"codeberg.org/skiff/skiff/server/api"
)

// stages are the keys of --runtime-config that mean all API versions of a stage.
var stages = map[string]*regexp.Regexp{
	"api/all":   regexp.MustCompile(`^v\d+`),
	"api/ga":    regexp.MustCompile(`^v\d+$`),
	"api/beta":  regexp.MustCompile(`^v\d+beta\d+$`),
	"api/alpha": regexp.MustCompile(`^v\d+alpha\d+$`),
}

// applyRuntimeConfig takes the API versions out of kinds that --runtime-config turns off: "group/version=false",
// "group/version/resource=false", "api/beta=false". What cannot be so is an error: a version that Kubernetes does not
// have, one that is not there, and one that objects are held in.
func applyRuntimeConfig(kinds []*api.Kind, flags []string) ([]*api.Kind, error) {
	for _, flag := range flags {
		key, value, given := strings.Cut(strings.TrimSpace(flag), "=")
		on := true
		if given {
			var err error
			if on, err = strconv.ParseBool(value); err != nil {
				return nil, fmt.Errorf("--runtime-config: invalid value %q: expected true or false", flag)
			}
		}
		if err := runtimeConfig(kinds, key, on); err != nil {
			return nil, fmt.Errorf("--runtime-config: %s=%v: %w", key, on, err)
		}
	}
	return kinds, nil
}

func runtimeConfig(kinds []*api.Kind, key string, on bool) error {
	if stage := stages[key]; stage != nil {
		if on && key == "api/ga" {
			return nil
		}
		if on {
			return fmt.Errorf("versions that are off by default are not there; name those that you need, to be told which")
		}
		return turnOff(kinds, func(k *api.Kind, v *api.Version) bool { return stage.MatchString(v.Version) })
	}
	gv, resource, err := parseAPI(key)
	if err != nil {
		return err
	}
	of := func(k *api.Kind, v *api.Version) bool {
		return v.Group == gv.Group && v.Version == gv.Version && (resource == "" || k.Plural == resource)
	}
	if !on {
		return turnOff(kinds, of)
	}
	for _, k := range kinds {
		for i := range k.Versions {
			if of(k, &k.Versions[i]) {
				return nil
			}
		}
	}
	return fmt.Errorf("this API is not there")
}

// parseAPI reads "group/version" or "group/version/resource", or "v1", of an API that Kubernetes has.
func parseAPI(key string) (gv schema.GroupVersion, resource string, err error) {
	part := strings.Split(key, "/")
	if len(part) == 3 {
		resource = part[2]
		part = part[:2]
	}
	if len(part) > 2 || strings.ToLower(resource) != resource {
		return gv, "", fmt.Errorf("expected group/version, or group/version/resource with the resource in the lower-case plural")
	}
	if gv, err = schema.ParseGroupVersion(strings.Join(part, "/")); err != nil {
		return gv, "", err
	}
	if gv.Group == "core" || gv.Group == "api" {
		gv.Group = ""
	}
	if !kubernetes.Scheme.IsVersionRegistered(gv) && !slices.Contains(ownGroups, gv.Group) {
		return gv, "", fmt.Errorf("group version %s that has not been registered", gv)
	}
	return gv, resource, nil
}

// ownGroups are groups of the API server that are not in the scheme of clients.
var ownGroups = []string{"apiextensions.k8s.io", "apiregistration.k8s.io"}

// turnOff takes versions away from kinds.
func turnOff(kinds []*api.Kind, of func(*api.Kind, *api.Version) bool) error {
	for _, k := range kinds {
		for i := range k.Versions {
			if v := &k.Versions[i]; of(k, v) && v == k.Hub() {
				return fmt.Errorf("%s are held in %s and cannot be turned off", k.Plural, schema.GroupVersion{Group: v.Group, Version: v.Version})
			}
		}
	}
	for _, k := range kinds {
		k.Versions = slices.DeleteFunc(k.Versions, func(v api.Version) bool { return of(k, &v) })
	}
	return nil
}
