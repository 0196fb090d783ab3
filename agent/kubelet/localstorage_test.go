package kubelet

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestAPodThatWritesTooMuchIsEvicted(t *testing.T) {
	r := newRig(t, fakeServer())
	r.cfg.LayerUsage = func(string) (int64, int64, error) { return 3 << 20, 1, nil }
	r.start()
	limit := resource.MustParse("1Mi")
	r.create(testPod("volume", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	}))
	r.create(testPod("layer", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("2Mi")}
	}))
	r.create(testPod("free", nil))
	pod := r.running("volume")
	r.running("layer")
	r.running("free")
	if err := os.WriteFile(filepath.Join(r.k.volumes.Path(pod, "v"), "file"), make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r.k.evictGreedy(context.Background())
	for name, message := range map[string]string{"volume": "Usage of EmptyDir volume \"v\" exceeds", "layer": "ephemeral local storage usage exceeds"} {
		r.eventually(name+" is evicted", func() (bool, any) {
			s := r.pod(name).Status
			return s.Phase == corev1.PodFailed && s.Reason == "Evicted" && strings.Contains(s.Message, message) &&
				condition(r.pod(name), corev1.DisruptionTarget) == corev1.ConditionTrue, s
		})
	}
	r.running("free")
}
