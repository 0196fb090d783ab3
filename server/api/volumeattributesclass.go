package api

import (
	"reflect"

	storagev1 "k8s.io/api/storage/v1"
)

func volumeAttributesClass() *Kind {
	type class = *storagev1.VolumeAttributesClass
	return &Kind{
		Group: "storage.k8s.io", Kind: "VolumeAttributesClass", Plural: "volumeattributesclasses", Singular: "volumeattributesclass",
		ShortNames: []string{"vac"},
		Versions:   []Version{typed[storagev1.VolumeAttributesClass, storagev1.VolumeAttributesClassList]("storage.k8s.io", "v1")},
		Prefix:     "/registry/volumeattributesclasses",
		Strategy: Strategy{
			Validate:                 one(validateVolumeAttributesClass),
			ValidateUpdate:           pair(validateVolumeAttributesClassUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			str("DriverName", "driver that knows the attributes", func(v class) string { return v.DriverName }),
			age(),
		},
	}
}

func validateVolumeAttributesClass(v *storagev1.VolumeAttributesClass) fieldErrors {
	c := &check{}
	c.provisioner(at("driverName"), v.DriverName)
	c.parameters(at("parameters"), v.Parameters)
	if len(v.Parameters) == 0 {
		c.required(at("parameters"), "must contain at least one key/value pair")
	}
	return c.errs
}

func validateVolumeAttributesClassUpdate(v, old *storagev1.VolumeAttributesClass) fieldErrors {
	c := &check{}
	if v.DriverName != old.DriverName {
		c.forbidden(at("driverName"), "updates to driverName are forbidden.")
	}
	if !reflect.DeepEqual(v.Parameters, old.Parameters) {
		c.forbidden(at("parameters"), "updates to parameters are forbidden.")
	}
	c.add(validateVolumeAttributesClass(v)...)
	return c.errs
}
