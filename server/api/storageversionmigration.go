package api

import (
	"strings"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
)

func storageVersionMigration() *Kind {
	type migration = *storagemigrationv1.StorageVersionMigration
	return &Kind{
		Group: "storagemigration.k8s.io", Kind: "StorageVersionMigration", Plural: "storageversionmigrations",
		Singular: "storageversionmigration",
		Versions: []Version{typed[storagemigrationv1.StorageVersionMigration, storagemigrationv1.StorageVersionMigrationList]("storagemigration.k8s.io", "v1")},
		Prefix:   "/registry/storageversionmigrations",
		Strategy: Strategy{
			PrepareCreate:  do(func(m migration) { m.Status = storagemigrationv1.StorageVersionMigrationStatus{} }),
			PrepareUpdate:  doPair(func(m, old migration) { m.Status = old.Status }),
			Validate:       one(validateStorageVersionMigration),
			ValidateUpdate: pair(validateStorageVersionMigrationUpdate),
		},
		Subresources: []Subresource{statusAlone(func(to, from migration) { to.Status = from.Status }, validateStorageVersionMigrationStatus)},
		Columns: []Column{
			str("Resource", "what is written again", func(m migration) string { return m.Spec.Resource.String() }),
			str("Status", "how far it is", func(m migration) string {
				state := "Unknown"
				for _, c := range m.Status.Conditions {
					switch storagemigrationv1.MigrationConditionType(c.Type) {
					case storagemigrationv1.MigrationRunning, storagemigrationv1.MigrationFailed, storagemigrationv1.MigrationSucceeded:
						if c.Status == metav1.ConditionTrue {
							state = c.Type
						}
					}
				}
				return state
			}),
		},
	}
}

func validateStorageVersionMigration(m *storagemigrationv1.StorageVersionMigration) fieldErrors {
	c, path, r := &check{}, at("spec", "resource"), m.Spec.Resource
	if r.Resource == "" {
		c.required(path.Child("resource"), "resource is required to be set")
	} else if wrong := validation.IsDNS1035Label(r.Resource); len(wrong) > 0 {
		c.invalid(path.Child("resource"), r.Resource, strings.Join(wrong, ","))
	}
	if r.Group != "" {
		if wrong := subdomain(r.Group); len(wrong) > 0 {
			c.invalid(path.Child("group"), r.Group, strings.Join(wrong, ","))
		}
	}
	return c.errs
}

func validateStorageVersionMigrationUpdate(m, old *storagemigrationv1.StorageVersionMigration) fieldErrors {
	c := &check{errs: validateStorageVersionMigration(m)}
	c.add(apivalidation.ValidateImmutableField(m.Spec, old.Spec, at("spec"))...)
	return c.errs
}

// validateStorageVersionMigrationStatus: a migration that has ended has ended.
func validateStorageVersionMigrationStatus(m, old *storagemigrationv1.StorageVersionMigration) fieldErrors {
	c, path, s := &check{}, at("status"), &m.Status
	if s.ResourceVersion != "" {
		if _, err := resourceversion.CompareResourceVersion(s.ResourceVersion, s.ResourceVersion); err != nil {
			c.invalid(path.Child("resourceVersion"), s.ResourceVersion, err.Error())
		}
	}
	c.add(metavalidation.ValidateConditions(s.Conditions, path.Child("conditions"))...)
	if was := old.Status.ResourceVersion; was != "" && was != s.ResourceVersion {
		c.invalid(path.Child("resourceVersion"), s.ResourceVersion, "field is immutable")
	}
	has := func(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType) bool {
		return meta.IsStatusConditionTrue(m.Status.Conditions, string(t))
	}
	succeeded, failed := has(m, storagemigrationv1.MigrationSucceeded), has(m, storagemigrationv1.MigrationFailed)
	if succeeded && failed {
		c.invalid(path.Child("conditions"), s.Conditions, "Both success and failed conditions cannot be true at the same time")
	}
	if has(old, storagemigrationv1.MigrationSucceeded) && !succeeded {
		c.invalid(path.Child("conditions"), s.Conditions, "Success condition cannot be set to false once it is true")
	}
	if has(old, storagemigrationv1.MigrationFailed) && !failed {
		c.invalid(path.Child("conditions"), s.Conditions, "Failed condition cannot be set to false once it is true")
	}
	return c.errs
}
