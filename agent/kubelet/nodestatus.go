package kubelet

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
)

// maxImages in a node's status.
const maxImages = 50

// machine is what does not change while the daemon runs.
type machine struct {
	cpus, memory, disk int64
	hugepages          map[corev1.ResourceName]resource.Quantity
	info               corev1.NodeSystemInfo
}

func readMachine(data string) machine {
	m := machine{cpus: int64(goruntime.NumCPU()), memory: meminfo()["MemTotal"], hugepages: map[corev1.ResourceName]resource.Quantity{}}
	os.MkdirAll(data, 0o711)
	if d, ok := readDisk(data); ok {
		m.disk = d.size
	}
	dirs, _ := os.ReadDir("/sys/kernel/mm/hugepages")
	for _, d := range dirs {
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(d.Name(), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		n, _ := strconv.ParseInt(readLine("/sys/kernel/mm/hugepages/"+d.Name()+"/nr_hugepages"), 10, 64)
		size := resource.NewQuantity(kb<<10, resource.BinarySI)
		m.hugepages[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())] = *resource.NewQuantity(n*kb<<10, resource.BinarySI)
	}
	var u unix.Utsname
	unix.Uname(&u)
	m.info = corev1.NodeSystemInfo{
		MachineID: readLine("/etc/machine-id"), SystemUUID: readLine("/sys/class/dmi/id/product_uuid"), BootID: readLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion: unix.ByteSliceToString(u.Release[:]), OSImage: osImage(), OperatingSystem: "linux", Architecture: goruntime.GOARCH,
	}
	def(&m.info.SystemUUID, m.info.MachineID)
	return m
}

func readLine(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

func osImage() string {
	b, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return "Linux"
}

// meminfo in bytes.
func meminfo() map[string]int64 {
	out := map[string]int64{}
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return out
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		name, rest, _ := strings.Cut(sc.Text(), ":")
		if n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
			out[name] = n << 10
		}
	}
	return out
}

func (n *node) labels() map[string]string {
	out := map[string]string{wellknown.LabelHostname: n.k.cfg.NodeName,
		corev1.LabelOSStable: "linux", corev1.LabelArchStable: goruntime.GOARCH,
		"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": goruntime.GOARCH}
	maps.Copy(out, n.k.cfg.Labels)
	return out
}

// fill the status with what is true. Resources that others added stay.
func (n *node) fill(obj *corev1.Node, now time.Time) {
	st := &obj.Status
	capacity, allocatable := n.resources()
	if st.Capacity == nil {
		st.Capacity, st.Allocatable = corev1.ResourceList{}, corev1.ResourceList{}
	}
	for name, q := range st.Capacity {
		if _, ok := st.Allocatable[name]; !ok {
			st.Allocatable[name] = q // extended resources are all for pods
		}
	}
	maps.Copy(st.Capacity, capacity)
	maps.Copy(st.Allocatable, allocatable)
	st.NodeInfo = n.machine.info
	st.NodeInfo.ContainerRuntimeVersion = "skiff://" + n.k.cfg.Version
	st.NodeInfo.KubeletVersion = "v1.37.2+skiff" + strings.TrimPrefix(n.k.cfg.Version, "v")
	st.DaemonEndpoints.KubeletEndpoint.Port = int32(port(n.k.cfg.Listen))
	st.Addresses = n.addresses()
	st.Images = n.images()
	recursive, users := container.CanRecursiveReadOnly(), canMapUsers(st.NodeInfo.KernelVersion)
	st.RuntimeHandlers = nil
	for _, name := range handlers {
		st.RuntimeHandlers = append(st.RuntimeHandlers, corev1.NodeRuntimeHandler{Name: name, Features: &corev1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: &recursive, UserNamespaces: &users}})
	}
	st.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: yes()}
	st.DeclaredFeatures = n.k.cfg.Features.Declared()
	n.conditions(st, now)
}

// addresses of the node, as it is reached from inside and outside, and by name.
func (n *node) addresses() (out []corev1.NodeAddress) {
	for _, ip := range n.k.cfg.NodeIPs() {
		out = append(out, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	for _, ip := range n.k.cfg.ExternalIPs {
		out = append(out, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: ip.String()})
	}
	return append(out, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.k.cfg.NodeName})
}

func yes() *bool { b := true; return &b }

func port(addr string) int {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		if p, err := strconv.Atoi(addr[i+1:]); err == nil && p > 0 {
			return p
		}
	}
	return wellknown.KubeletPort
}

func (n *node) images() (out []corev1.ContainerImage) {
	list := slices.Clone(n.k.cfg.Images.List())
	slices.SortStableFunc(list, func(a, b *image.Image) int { return int(min(max(b.Size-a.Size, -1), 1)) })
	for _, img := range list {
		if names := append(slices.Clone(img.Digests), img.Names...); len(names) > 0 && len(out) < maxImages {
			out = append(out, corev1.ContainerImage{Names: names[:min(len(names), 5)], SizeBytes: img.Size})
		}
	}
	return out
}

// conditions, in upstream's order and words.
func (n *node) conditions(st *corev1.NodeStatus, now time.Time) {
	n.mu.Lock()
	p := n.pressure
	n.mu.Unlock()
	pressed := func(t corev1.NodeConditionType, on bool, bad, good, what string) {
		c := corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: good, Message: "kubelet has " + what + " available"}
		if t == corev1.NodeDiskPressure {
			c.Message = "kubelet has no disk pressure"
		}
		if on {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, bad, "kubelet has "+strings.ReplaceAll(what, "sufficient", "insufficient")+" available"
			if t == corev1.NodeDiskPressure {
				c.Message = "kubelet has disk pressure"
			}
		}
		setCondition(st, c, now)
	}
	pressed(corev1.NodeMemoryPressure, p.Memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "sufficient memory")
	pressed(corev1.NodeDiskPressure, p.Disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "")
	pressed(corev1.NodePIDPressure, p.PIDs, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "sufficient PID")
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if n.shuttingDown() {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", "node is shutting down"
	} else if f := n.k.cfg.NetworkReady; f != nil {
		if err := f(); err != nil {
			ready.Status, ready.Reason = corev1.ConditionFalse, "KubeletNotReady"
			ready.Message = fmt.Sprintf("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:%v", err)
		}
	}
	setCondition(st, ready, now)
}

func setCondition(st *corev1.NodeStatus, c corev1.NodeCondition, now time.Time) {
	t := metav1.NewTime(now.Truncate(time.Second))
	c.LastHeartbeatTime, c.LastTransitionTime = t, t
	for i := range st.Conditions {
		if o := &st.Conditions[i]; o.Type == c.Type {
			if o.Status == c.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
			*o = c
			return
		}
	}
	st.Conditions = append(st.Conditions, c)
}
