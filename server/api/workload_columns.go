package api

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// containerColumns are the wide columns which end the tables of kinds with a pod template.
func containerColumns[T Object](spec func(T) *corev1.PodSpec, wideOnly bool) []Column {
	list := func(pick func(*corev1.Container) string) func(T) string {
		return func(o T) string {
			var out []string
			if s := spec(o); s != nil {
				for i := range s.Containers {
					out = append(out, pick(&s.Containers[i]))
				}
			}
			return strings.Join(out, ",")
		}
	}
	cs := []Column{
		str("Containers", "names of the template's containers", list(func(c *corev1.Container) string { return c.Name })),
		str("Images", "images of the template's containers", list(func(c *corev1.Container) string { return c.Image })),
	}
	if wideOnly {
		cs[0], cs[1] = wide(cs[0]), wide(cs[1])
	}
	return cs
}

func selectorColumn[T Object](sel func(T) *metav1.LabelSelector) Column {
	return wide(str("Selector", "labels of the pods that belong to it", func(o T) string { return metav1.FormatLabelSelector(sel(o)) }))
}

func formatLabels(l map[string]string) string { return orNone(labels.Set(l).String()) }

// sinceLast is since for a time which may not have come yet.
func sinceLast(t *metav1.Time, now time.Time) string {
	if t == nil {
		return "<none>"
	}
	return since(t.Time, now)
}
