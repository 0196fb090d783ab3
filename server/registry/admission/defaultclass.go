package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/registry"
)

const (
	annotationDefaultStorageClass     = "storageclass.kubernetes.io/is-default-class"
	annotationBetaDefaultStorageClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// defaultStorageClass gives a claim that names no class the default one: the newest that is marked.
func defaultStorageClass(c *Config) registry.Plugin {
	return registry.Plugin{Name: "DefaultStorageClass", Admit: func(_ context.Context, a *registry.Attributes) error {
		claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
		if !ok || a.Verb != registry.VerbCreate || a.Subresource != "" || claim.Spec.StorageClassName != nil ||
			metav1.HasAnnotation(claim.ObjectMeta, corev1.BetaStorageClassAnnotation) {
			return nil
		}
		var found *storagev1.StorageClass
		for _, class := range list[*storagev1.StorageClass](c, c.Store.Snapshot(), "") {
			marked := class.Annotations[annotationDefaultStorageClass] == "true" || class.Annotations[annotationBetaDefaultStorageClass] == "true"
			if marked && (found == nil || found.CreationTimestamp.Before(&class.CreationTimestamp)) {
				found = class
			}
		}
		if found != nil {
			claim.Spec.StorageClassName = &found.Name
		}
		return nil
	}}
}

// defaultIngressClass gives an ingress that names no class the default one.
func defaultIngressClass(c *Config) registry.Plugin {
	return registry.Plugin{Name: "DefaultIngressClass", Admit: func(_ context.Context, a *registry.Attributes) error {
		ingress, ok := a.Object.(*networkingv1.Ingress)
		if !ok || a.Verb != registry.VerbCreate || a.Subresource != "" || ingress.Spec.IngressClassName != nil ||
			metav1.HasAnnotation(ingress.ObjectMeta, "kubernetes.io/ingress.class") {
			return nil
		}
		var found *networkingv1.IngressClass
		for _, class := range list[*networkingv1.IngressClass](c, c.Store.Snapshot(), "") {
			if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" &&
				(found == nil || found.CreationTimestamp.Before(&class.CreationTimestamp)) {
				found = class
			}
		}
		if found != nil {
			ingress.Spec.IngressClassName = &found.Name
		}
		return nil
	}}
}
