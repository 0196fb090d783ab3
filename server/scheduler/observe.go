package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// state is what the scheduler's goroutine owns.
type state struct {
	cluster *cluster
	backlog *backlog
}

// watched are the kinds the scheduler sees; those that the catalogue does not have are left out.
var watched = []api.Object{&corev1.Node{}, &corev1.Namespace{}, &corev1.Service{}, &policyv1.PodDisruptionBudget{},
	&corev1.PersistentVolume{}, &corev1.PersistentVolumeClaim{}, &storagev1.StorageClass{}, &storagev1.CSINode{}, &storagev1.CSIDriver{}, &storagev1.VolumeAttachment{},
	&resourcev1.ResourceClaim{}, &corev1.Pod{}}

// observe takes a change over and returns what it changes for pods that wait.
func (s *state) observe(t store.EventType, obj, old api.Object) change {
	gone := t == store.Deleted
	switch o := obj.(type) {
	case *corev1.Pod:
		was, _ := old.(*corev1.Pod)
		return s.observePod(o, was, gone)
	case *corev1.Node:
		return s.observeNode(o, gone)
	case *corev1.Namespace:
		was := s.cluster.namespaces[o.Name]
		if gone {
			delete(s.cluster.namespaces, o.Name)
		} else {
			s.cluster.namespaces[o.Name] = o.Labels
		}
		if !maps.Equal(was, labels.Set(o.Labels)) {
			return namespaceLabels
		}
	case *corev1.Service:
		put(s.cluster.services, o, gone)
	case *policyv1.PodDisruptionBudget:
		put(s.cluster.budgets, o, gone)
	case *corev1.PersistentVolumeClaim:
		put(s.cluster.claims, o, gone)
		return volumeChange
	case *corev1.PersistentVolume:
		put(s.cluster.volumes, o, gone)
		return volumeChange
	case *storagev1.StorageClass:
		put(s.cluster.classes, o, gone)
		return volumeChange
	case *storagev1.CSINode:
		put(s.cluster.csiNodes, o, gone)
		return volumeChange
	case *storagev1.CSIDriver:
		put(s.cluster.csiDrivers, o, gone)
		return volumeChange
	case *storagev1.VolumeAttachment:
		put(s.cluster.attachments, o, gone)
		if gone {
			return volumeChange
		}
	case *resourcev1.ResourceClaim:
		put(s.cluster.deviceClaims, o, gone)
		return claimChange
	}
	return 0
}

func put[T interface {
	GetName() string
	GetNamespace() string
}](all objects[T], obj T, gone bool) {
	if gone {
		all.remove(obj)
	} else {
		all.set(obj)
	}
}

// observeNode: a heartbeat changes nothing that pods wait for.
func (s *state) observeNode(node *corev1.Node, gone bool) (changed change) {
	if gone {
		s.cluster.removeNode(node.Name)
		return podGone // affinities and spreads may look different now
	}
	var was *corev1.Node
	if n := s.cluster.byName[node.Name]; n != nil {
		was = n.Node
	}
	s.cluster.setNode(node)
	if was == nil {
		return nodeAdded
	}
	if was.Spec.Unschedulable != node.Spec.Unschedulable || !apiequality.Semantic.DeepEqual(was.Spec.Taints, node.Spec.Taints) {
		changed |= nodeSpec
	}
	if !maps.Equal(was.Labels, node.Labels) {
		changed |= nodeLabels
	}
	if !apiequality.Semantic.DeepEqual(was.Status.Allocatable, node.Status.Allocatable) {
		changed |= nodeCapacity
	}
	if !slices.Equal(was.Status.DeclaredFeatures, node.Status.DeclaredFeatures) {
		changed |= nodeFeatures
	}
	return changed
}

func (s *state) observePod(pod, old *corev1.Pod, gone bool) change {
	key := podKey(pod)
	if gone || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return s.forget(key)
	}
	if pod.Spec.NodeName != "" {
		return s.observePlaced(pod)
	}
	if was, ok := s.cluster.placed[key]; ok {
		if was.assumed && was.pod.UID == pod.UID && pod.DeletionTimestamp == nil {
			s.backlog.refresh(newPodInfo(pod))
			return 0 // being bound; this is what it looked like before
		}
		s.cluster.displace(key)
	}
	if !wantsNode(pod) {
		s.backlog.remove(key)
		return s.denominate(key)
	}
	p := newPodInfo(pod)
	s.cluster.nominate(p, pod.Status.NominatedNodeName)
	if _, known := s.backlog.items[key]; known && old != nil && old.UID == pod.UID && sameWish(old, pod) {
		s.backlog.refresh(p)
	} else {
		s.backlog.add(p)
	}
	return 0
}

// wantsNode says whether a pod without node is ours to place.
func wantsNode(pod *corev1.Pod) bool {
	return pod.Spec.SchedulerName == corev1.DefaultSchedulerName && pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

// sameWish: only the status has changed, most often by ourselves.
func sameWish(old, pod *corev1.Pod) bool {
	return maps.Equal(old.Labels, pod.Labels) && apiequality.Semantic.DeepEqual(&old.Spec, &pod.Spec)
}

func (s *state) observePlaced(pod *corev1.Pod) change {
	key := podKey(pod)
	s.backlog.remove(key)
	s.cluster.nominate(&podInfo{key: key}, "")
	was, known := s.cluster.placed[key]
	p := newPodInfo(pod)
	s.cluster.place(p, pod.Spec.NodeName, false)
	if !known {
		return podPlaced
	}
	var changed change
	if !maps.Equal(was.pod.Labels, pod.Labels) {
		changed |= podLabels
	}
	if was.node.name != pod.Spec.NodeName || p.requests.less(was.pod.requests) ||
		was.pod.DeletionTimestamp == nil && pod.DeletionTimestamp != nil {
		changed |= podGone
	}
	return changed
}

// forget drops a pod that is gone or has ended.
func (s *state) forget(key string) change {
	delete(s.cluster.evicting, key)
	s.backlog.remove(key)
	changed := s.denominate(key)
	if _, ok := s.cluster.displace(key); ok {
		changed |= podGone
	}
	return changed
}

// denominate gives back the room that was kept for a pod.
func (s *state) denominate(key string) change {
	if s.cluster.nominatedNode(key) == "" {
		return 0
	}
	s.cluster.nominate(&podInfo{key: key}, "")
	return podGone
}
