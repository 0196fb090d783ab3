package kubelet

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/runtime/image"
)

// imageUsage is when images were last pulled or used, as far as this daemon has seen. An image that it has not seen was used when it started.
type imageUsage struct {
	mu   sync.Mutex
	last map[string]time.Time
	told time.Time // when it was said last that there is nothing more to remove; housekeeping's alone
}

// imageUsed notes that an image is or was in use.
func (k *Kubelet) imageUsed(id string) {
	k.usage.mu.Lock()
	defer k.usage.mu.Unlock()
	k.usage.last[id] = k.cfg.Now()
}

func (k *Kubelet) lastUse(id string) time.Time {
	k.usage.mu.Lock()
	defer k.usage.mu.Unlock()
	if t, ok := k.usage.last[id]; ok {
		return t
	}
	return k.started
}

// collectImages removes images that nobody uses: all that are too old, and when the disk fills beyond the high mark, the longest unused first
// until it is below the low one.
func (k *Kubelet) collectImages(ctx context.Context) {
	over := func(mark float64) bool {
		d, known := readDisk(k.cfg.Paths.Images())
		return known && d.below(1-mark)
	}
	full := k.cfg.ImageGCHigh < 1 && over(k.cfg.ImageGCHigh)
	if !full && k.cfg.ImageMaxAge == 0 {
		return
	}
	mark := func() bool { return full && over(k.cfg.ImageGCLow) }
	reason := "space"
	if !full {
		reason = "age"
	}
	k.removeImages(ctx, reason, func(unused time.Duration) bool {
		return k.cfg.ImageMaxAge > 0 && unused > k.cfg.ImageMaxAge || unused > k.cfg.ImageMinAge && mark()
	})
	if full && over(k.cfg.ImageGCHigh) && k.cfg.Now().Sub(k.usage.told) > 5*time.Minute {
		k.usage.told = k.cfg.Now()
		k.events.onNode(corev1.EventTypeWarning, "FreeDiskSpaceFailed", "Failed to garbage collect required amount of images. The disk is still more than %.0f%% full", k.cfg.ImageGCHigh*100)
	}
}

// removeImages removes the unused images of which doomed says so, the longest unused first.
func (k *Kubelet) removeImages(ctx context.Context, reason string, doomed func(unused time.Duration) bool) {
	defer k.pulls.records.prune(func(id string) bool { return k.cfg.Images.Get(id) != nil })
	used, now := k.imagesInUse(), k.cfg.Now()
	for id := range used {
		k.imageUsed(id)
	}
	list := slices.Clone(k.cfg.Images.List())
	slices.SortStableFunc(list, func(a, b *image.Image) int {
		return cmp.Or(k.lastUse(a.ID).Compare(k.lastUse(b.ID)), cmp.Compare(a.Created.Unix(), b.Created.Unix()))
	})
	for _, img := range list {
		if used[img.ID] || !doomed(now.Sub(k.lastUse(img.ID))) {
			continue
		}
		k.cfg.Log.Info("removing an unused image", "image", img.Names, "bytes", img.Size)
		err := k.cfg.Images.Remove(ctx, img.ID, func(id string) bool { return k.imagesInUse()[id] })
		if errors.Is(err, image.ErrInUse) {
			continue // it is mounted, or has come into use
		}
		if err != nil {
			k.cfg.Log.Warn("cannot remove an image", "image", img.Names, "err", err)
			k.events.onNode(corev1.EventTypeWarning, "ImageGCFailed", "Failed to remove image %v: %v", img.Names, err)
			continue
		}
		k.counts.imagesGone.WithLabelValues(reason).Inc()
	}
}

// ImageInUse says whether a container uses the image, or a pod of this node names it. Mounted ones the image store itself knows of.
func (k *Kubelet) ImageInUse(id string) bool { return k.imagesInUse()[id] }

func (k *Kubelet) imagesInUse() map[string]bool {
	used := map[string]bool{}
	for _, s := range k.cfg.Runtime.List() {
		for _, c := range s.Containers {
			used[c.Spec.ImageID] = true
		}
	}
	for _, w := range k.workers() {
		w.mu.Lock()
		for _, u := range w.images {
			used[u.id] = true
		}
		pod, torn := w.pod, w.torn
		w.mu.Unlock()
		if torn {
			continue
		}
		for _, ref := range imageRefs(pod) { // it may be waiting for something else
			if img := k.cfg.Images.Get(ref); img != nil {
				used[img.ID] = true
			}
		}
	}
	return used
}

// imageRefs are the images that a pod names, of containers and of volumes.
func imageRefs(pod *corev1.Pod) []string {
	var out []string
	each(pod, func(c *corev1.Container, _ kind) { out = append(out, c.Image) })
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Image; v != nil && v.Reference != "" {
			out = append(out, v.Reference)
		}
	}
	return out
}
