package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
)

func namespace() *Kind {
	return &Kind{
		Kind: "Namespace", Plural: "namespaces", Singular: "namespace", ShortNames: []string{"ns"},
		Versions: []Version{typed[corev1.Namespace, corev1.NamespaceList]("", "v1")},
		Prefix:   "/registry/namespaces",
		Strategy: Strategy{
			Default: do(func(n *corev1.Namespace) {
				blank(&n.Status.Phase, corev1.NamespaceActive)
				if n.Name != "" {
					if n.Labels == nil {
						n.Labels = map[string]string{}
					}
					n.Labels[corev1.LabelMetadataName] = n.Name
				}
			}),
			PrepareCreate: do(prepareNamespace),
			PrepareUpdate: doPair(func(n, old *corev1.Namespace) {
				n.Spec.Finalizers = old.Spec.Finalizers
				n.Status = old.Status
			}),
			Validate:                 one(validateNamespace),
			ValidateUpdate:           pair(validateNamespaceUpdate),
			ValidateName:             apivalidation.NameIsDNSLabel,
			AllowUnconditionalUpdate: true,
		},
		// deletecollection would be a way to lose a cluster by one slip: upstream has none either.
		Verbs: []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		Subresources: []Subresource{
			status(func(to, from *corev1.Namespace) { to.Status = from.Status }, validateNamespaceStatus),
			{Name: "finalize", Verbs: []string{"update"},
				Inject: inject(func(to, sent *corev1.Namespace) {
					to.Finalizers = sent.Finalizers
					to.Spec.Finalizers = sent.Spec.Finalizers
				}),
				Validate: pair(validateNamespaceUpdate)},
		},
		Columns: []Column{
			str("Status", "Active, or Terminating", func(n *corev1.Namespace) string { return string(n.Status.Phase) }),
			age(),
		},
		Fields: one(func(n *corev1.Namespace) fields.Set {
			return fields.Set{"status.phase": string(n.Status.Phase)}
		}),
		FieldNames: []string{"status.phase"},
	}
}

// prepareNamespace adds the finalizer that keeps a namespace until it is empty.
func prepareNamespace(n *corev1.Namespace) {
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	for _, f := range n.Spec.Finalizers {
		if f == corev1.FinalizerKubernetes {
			return
		}
	}
	n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
}

func validateNamespace(n *corev1.Namespace) fieldErrors {
	c := &check{}
	for i, f := range n.Spec.Finalizers {
		path := at("spec", "finalizers").Index(i)
		c.invalid(path, string(f), validation.IsQualifiedName(string(f))...)
		if f != corev1.FinalizerKubernetes && !strings.Contains(string(f), "/") {
			c.invalid(path, string(f), "name is neither a standard finalizer name nor is it fully qualified")
		}
	}
	return c.errs
}

func validateNamespaceUpdate(n, _ *corev1.Namespace) fieldErrors { return validateNamespace(n) }

func validateNamespaceStatus(n, _ *corev1.Namespace) fieldErrors {
	c, path := &check{}, at("status", "Phase")
	switch deleted := n.DeletionTimestamp != nil; {
	case !deleted && n.Status.Phase != corev1.NamespaceActive:
		c.invalid(path, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
	case deleted && n.Status.Phase != corev1.NamespaceTerminating:
		c.invalid(path, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	}
	return c.errs
}
