package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/registry"
)

// alwaysPullImages has every image pulled with the pod's own credentials, so that a private image which is on a node
// already is not there for everybody.
func alwaysPullImages() registry.Plugin {
	return registry.Plugin{Name: "AlwaysPullImages",
		Admit: onPods(func(_ context.Context, _ *registry.Attributes, pod, old *corev1.Pod) error {
			if bringsNewImage(pod, old) {
				eachPullPolicy(&pod.Spec, func(_ *field.Path, p *corev1.PullPolicy) { *p = corev1.PullAlways })
			}
			return nil
		}, registry.VerbCreate, registry.VerbUpdate),
		Validate: onPods(func(_ context.Context, a *registry.Attributes, pod, old *corev1.Pod) error {
			if !bringsNewImage(pod, old) {
				return nil
			}
			var errs []error
			eachPullPolicy(&pod.Spec, func(at *field.Path, p *corev1.PullPolicy) {
				if *p != corev1.PullAlways {
					errs = append(errs, field.NotSupported(at, *p, []corev1.PullPolicy{corev1.PullAlways}))
				}
			})
			if len(errs) == 0 {
				return nil
			}
			return forbidden(a, "%w", utilerrors.NewAggregate(errs))
		}, registry.VerbCreate, registry.VerbUpdate),
	}
}

// bringsNewImage: an update that names no other image leaves the policies as they are, which may not be changed then.
func bringsNewImage(pod, old *corev1.Pod) bool {
	if old == nil {
		return true
	}
	was := sets.New[string]()
	eachImage(&old.Spec, func(image string) { was.Insert(image) })
	found := false
	eachImage(&pod.Spec, func(image string) { found = found || !was.Has(image) })
	return found
}

func eachImage(s *corev1.PodSpec, f func(image string)) {
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			f(list[i].Image)
		}
	}
	for i := range s.EphemeralContainers {
		f(s.EphemeralContainers[i].Image)
	}
}

// eachPullPolicy visits the pull policy of every image of a pod: of its containers of all sorts, and of image volumes.
func eachPullPolicy(s *corev1.PodSpec, f func(at *field.Path, p *corev1.PullPolicy)) {
	spec := field.NewPath("spec")
	for i := range s.InitContainers {
		f(spec.Child("initContainers").Index(i).Child("imagePullPolicy"), &s.InitContainers[i].ImagePullPolicy)
	}
	for i := range s.Containers {
		f(spec.Child("containers").Index(i).Child("imagePullPolicy"), &s.Containers[i].ImagePullPolicy)
	}
	for i := range s.EphemeralContainers {
		f(spec.Child("ephemeralContainers").Index(i).Child("imagePullPolicy"), &s.EphemeralContainers[i].ImagePullPolicy)
	}
	for i := range s.Volumes {
		if image := s.Volumes[i].Image; image != nil {
			f(spec.Child("volumes").Index(i).Child("image", "pullPolicy"), &image.PullPolicy)
		}
	}
}
