package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePod(p *corev1.Pod) field.ErrorList                               { return nil }
func validatePodUpdate(p, old *corev1.Pod) field.ErrorList                    { return nil }
func validatePodStatusUpdate(p, old *corev1.Pod) field.ErrorList              { return nil }
func validatePodEphemeralContainersUpdate(p, old *corev1.Pod) field.ErrorList { return nil }
func validatePodResize(p, old *corev1.Pod) field.ErrorList                    { return nil }
func podSpecWarnings(s *corev1.PodSpec) []string                              { return nil }
