package scheduler

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// cluster is what the scheduler knows: it is kept by one goroutine and only read by decide.
type cluster struct {
	// nodes that exist, by name.
	nodes []*nodeInfo
	// byName has also nodes that only pods tell of.
	byName map[string]*nodeInfo
	// placed pods, by key: those that the API shows on a node, and the assumed ones.
	placed map[string]placement
	// nominated pods wait for the victims on their node to go: node → key → pod.
	nominated map[string]map[string]*podInfo
	// evicting are the pods that the scheduler is about to evict, until the API shows it.
	evicting map[string]types.UID
	// images counts the nodes that have an image.
	images map[string]int

	namespaces map[string]labels.Set
	services   objects[*corev1.Service]
	budgets    objects[*policyv1.PodDisruptionBudget]
	claims     objects[*corev1.PersistentVolumeClaim]
	volumes    objects[*corev1.PersistentVolume]

	classes      objects[*storagev1.StorageClass]
	csiNodes     objects[*storagev1.CSINode]
	csiDrivers   objects[*storagev1.CSIDriver]
	attachments  objects[*storagev1.VolumeAttachment]
	deviceClaims objects[*resourcev1.ResourceClaim]
}

type placement struct {
	pod     *podInfo
	node    *nodeInfo
	assumed bool
}

// objects by namespace and name.
type objects[T interface {
	GetName() string
	GetNamespace() string
}] map[string]map[string]T

func (o objects[T]) set(obj T) {
	if o[obj.GetNamespace()] == nil {
		o[obj.GetNamespace()] = map[string]T{}
	}
	o[obj.GetNamespace()][obj.GetName()] = obj
}

func (o objects[T]) remove(obj T) {
	if delete(o[obj.GetNamespace()], obj.GetName()); len(o[obj.GetNamespace()]) == 0 {
		delete(o, obj.GetNamespace())
	}
}

// nodeInfo is a node and what is on it.
type nodeInfo struct {
	*corev1.Node // nil while only pods tell of it
	name         string
	allocatable  amounts
	maxPods      int64
	images       map[string]int64 // sizes

	pods          map[string]*podInfo
	requested     amounts
	scored        amounts
	ports         map[hostPort]int
	owners        map[types.UID]int // how many pods of a controller
	withAffinity  int               // pods with any term of pod affinity
	withAntiNeeds int               // pods with required anti-affinity
}

func newCluster() *cluster {
	return &cluster{byName: map[string]*nodeInfo{}, placed: map[string]placement{}, nominated: map[string]map[string]*podInfo{},
		evicting: map[string]types.UID{},
		images:   map[string]int{}, namespaces: map[string]labels.Set{}, services: objects[*corev1.Service]{},
		budgets: objects[*policyv1.PodDisruptionBudget]{}, claims: objects[*corev1.PersistentVolumeClaim]{},
		volumes: objects[*corev1.PersistentVolume]{}, classes: objects[*storagev1.StorageClass]{}, csiNodes: objects[*storagev1.CSINode]{}, csiDrivers: objects[*storagev1.CSIDriver]{},
		attachments: objects[*storagev1.VolumeAttachment]{}, deviceClaims: objects[*resourcev1.ResourceClaim]{}}
}

func newNodeInfo(name string) *nodeInfo {
	return &nodeInfo{name: name, pods: map[string]*podInfo{}, ports: map[hostPort]int{}, owners: map[types.UID]int{}}
}

func (n *nodeInfo) add(p *podInfo) { n.count(p, 1); n.pods[p.key] = p }

func (n *nodeInfo) remove(p *podInfo) { n.count(p, -1); delete(n.pods, p.key) }

func (n *nodeInfo) count(p *podInfo, sign int) {
	n.requested.add(p.requests, int64(sign))
	n.scored.add(p.scored, int64(sign))
	for _, port := range p.ports {
		if n.ports[port] += sign; n.ports[port] == 0 {
			delete(n.ports, port)
		}
	}
	if p.owner != "" {
		if n.owners[p.owner] += sign; n.owners[p.owner] == 0 {
			delete(n.owners, p.owner)
		}
	}
	if p.hasAffinity() {
		n.withAffinity += sign
	}
	if len(p.antiAffinity) > 0 {
		n.withAntiNeeds += sign
	}
}

// clone is for asking what if.
func (n *nodeInfo) clone() *nodeInfo {
	c := *n
	c.pods, c.ports, c.owners = maps.Clone(n.pods), maps.Clone(n.ports), maps.Clone(n.owners)
	c.requested, c.scored = n.requested.clone(), n.scored.clone()
	return &c
}

// with is the cluster with one node's content replaced, for asking what if; the original stays as it is.
func (c *cluster) with(n *nodeInfo) *cluster {
	other := *c
	other.nodes = slices.Clone(c.nodes)
	if i, ok := slices.BinarySearchFunc(c.nodes, n.name, byName); ok {
		other.nodes[i] = n
	}
	return &other
}

func byName(n *nodeInfo, name string) int { return cmp.Compare(n.name, name) }

func (c *cluster) node(name string) *nodeInfo {
	n := c.byName[name]
	if n == nil {
		n = newNodeInfo(name)
		c.byName[name] = n
	}
	return n
}

// setNode takes a new state of a node over.
func (c *cluster) setNode(node *corev1.Node) {
	n := c.node(node.Name)
	if n.Node == nil {
		i, _ := slices.BinarySearchFunc(c.nodes, n.name, byName)
		c.nodes = slices.Insert(c.nodes, i, n)
	}
	c.countImages(n, -1)
	n.Node = node
	n.allocatable = amountsOf(node.Status.Allocatable)
	n.maxPods = node.Status.Allocatable.Pods().Value()
	n.images = map[string]int64{}
	for _, image := range node.Status.Images {
		for _, name := range image.Names {
			n.images[name] = image.SizeBytes
		}
	}
	c.countImages(n, 1)
}

func (c *cluster) removeNode(name string) {
	n := c.byName[name]
	if n == nil || n.Node == nil {
		return
	}
	c.countImages(n, -1)
	n.Node, n.images = nil, nil
	if i, ok := slices.BinarySearchFunc(c.nodes, name, byName); ok {
		c.nodes = slices.Delete(c.nodes, i, i+1)
	}
	if len(n.pods) == 0 {
		delete(c.byName, name)
	}
}

func (c *cluster) countImages(n *nodeInfo, sign int) {
	for name := range n.images {
		if c.images[name] += sign; c.images[name] == 0 {
			delete(c.images, name)
		}
	}
}

// place puts a pod onto a node, in place of what was known of it before.
func (c *cluster) place(p *podInfo, node string, assumed bool) {
	c.displace(p.key)
	n := c.node(node)
	n.add(p)
	c.placed[p.key] = placement{p, n, assumed}
}

// displace takes a pod off its node and returns what was there.
func (c *cluster) displace(key string) (was placement, ok bool) {
	if was, ok = c.placed[key]; !ok {
		return was, false
	}
	delete(c.placed, key)
	was.node.remove(was.pod)
	if was.node.Node == nil && len(was.node.pods) == 0 {
		delete(c.byName, was.node.name)
	}
	return was, true
}

// nominatedNode is where a pod waits for room; "" if nowhere.
func (c *cluster) nominatedNode(key string) string {
	for node, pods := range c.nominated {
		if _, ok := pods[key]; ok {
			return node
		}
	}
	return ""
}

// nominate notes that p waits for room on node; "" takes the note back.
func (c *cluster) nominate(p *podInfo, node string) {
	if was := c.nominatedNode(p.key); was != "" {
		if delete(c.nominated[was], p.key); len(c.nominated[was]) == 0 {
			delete(c.nominated, was)
		}
	}
	if node == "" {
		return
	}
	if c.nominated[node] == nil {
		c.nominated[node] = map[string]*podInfo{}
	}
	c.nominated[node][p.key] = p
}
