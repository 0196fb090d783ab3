// Package settings reads the file of --admission-control-config-file: an AdmissionConfiguration
// (apiserver.config.k8s.io/v1) with the configurations of plugins, each in the form that upstream gives it.
//
// It is strict: a plugin that is not known or takes no configuration, a field that is not known, one that is there twice,
// and a value out of range are errors, which say in which file and for which plugin. It reads files once and starts nothing.
//
// To give a plugin a configuration: one file with its type and a func that checks it, one line in the table of load.go.
package settings
