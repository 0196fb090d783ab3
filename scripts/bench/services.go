package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const servicesMethod = `1,000 Services without selector, each with a slice of 5 endpoints, made by 8 workers; the endpoints are addresses on the node's loopback, where a listener answers with the address
that was reached. Answers: the cluster IP is dialled anew from the node, again as soon as it has failed, until the answer is the expected one. One change: the only endpoint of a Service is replaced, 30 times with 300 ms between;
its CPU is that of all of skiff's processes and iptables, meanwhile, without what a dial costs the kernel. The next one: a slice is written and right after it a new Service is made.`

const (
	manyServices  = 1000
	endpointsEach = 5
	targetPort    = 8080
)

// target is the i-th endpoint address.
func target(i int) string { return fmt.Sprintf("192.168.99.%d", 1+i) }

func measureServices(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	stop, err := b.listen()
	if err != nil {
		return err
	}
	defer stop()
	if err := b.startReady(ctx); err != nil {
		return err
	}
	pause(ctx, 3*time.Second)
	before := b.usage()
	var last time.Duration
	began := time.Now()
	if err := each(manyServices, 8, func(i int) error {
		_, _, err := b.service(ctx, fmt.Sprintf("s-%d", i), 0, endpointsEach)
		return err
	}); err != nil {
		return err
	}
	b.record("services/create", time.Since(began).Seconds())
	b.record("services/createcpu", ms(b.cpu()-before.cpu)/manyServices, "with what the proxy and the controllers made of them")
	pause(ctx, 3*time.Second)
	if last, err = b.serviceAnswers(ctx, "last", nil); err != nil {
		return err
	}
	b.record("services/last", ms(last), "with 1,000 others there")
	if err := b.changes(ctx); err != nil {
		return err
	}
	var next []time.Duration
	for i := range 5 {
		name := fmt.Sprintf("before-%d", i)
		_, slice, err := b.service(ctx, name, 0, 1)
		if err != nil {
			return err
		}
		pause(ctx, 200*time.Millisecond)
		d, err := b.serviceAnswers(ctx, fmt.Sprintf("next-%d", i), func() error { return b.point(ctx, slice, 1) })
		if err != nil {
			return err
		}
		next = append(next, d)
	}
	b.record("services/next", quantile(next, .5))
	pause(ctx, 10*time.Second)
	b.record("services/memory", b.usage().anon-before.anon, "the objects and the rules")
	return nil
}

// service makes a Service and its slice with the endpoints first…first+n-1.
func (b *bench) service(ctx context.Context, name string, first, n int) (*corev1.Service, *discoveryv1.EndpointSlice, error) {
	s, err := b.client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intOrString(targetPort)}}}}, metav1.CreateOptions{})
	if err != nil {
		return nil, nil, err
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](targetPort), Protocol: ptr.To(corev1.ProtocolTCP)}}}
	for i := range n {
		slice.Endpoints = append(slice.Endpoints, endpoint(first+i))
	}
	slice, err = b.client.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
	return s, slice, err
}

func endpoint(i int) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{target(i)}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}
}

// point makes endpoint i the only one of a slice.
func (b *bench) point(ctx context.Context, slice *discoveryv1.EndpointSlice, i int) error {
	slice.Endpoints = []discoveryv1.Endpoint{endpoint(i)}
	updated, err := b.client.DiscoveryV1().EndpointSlices(namespace).Update(ctx, slice, metav1.UpdateOptions{})
	if err == nil {
		*slice = *updated
	}
	return err
}

// serviceAnswers makes a Service, after something else, and returns how long after its slice was acknowledged it answered.
func (b *bench) serviceAnswers(ctx context.Context, name string, before func() error) (time.Duration, error) {
	if before != nil {
		if err := before(); err != nil {
			return 0, err
		}
	}
	s, _, err := b.service(ctx, name, 0, 1)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = b.reach(ctx, s, target(0))
	return time.Since(began), err
}

func (b *bench) changes(ctx context.Context) error {
	s, slice, err := b.service(ctx, "changing", 0, 1)
	if err != nil {
		return err
	}
	if err := b.reach(ctx, s, target(0)); err != nil {
		return err
	}
	pause(ctx, time.Second)
	var times []time.Duration
	cpu, own := b.cpu(), b.daemonCPU()
	for i := range 30 {
		to := (i + 1) % endpointsEach
		began := time.Now()
		if err := b.point(ctx, slice, to); err != nil {
			return err
		}
		if err := b.reach(ctx, s, target(to)); err != nil {
			return err
		}
		times = append(times, time.Since(began))
		pause(ctx, 300*time.Millisecond)
	}
	b.record("services/change", quantile(times, .5), fmt.Sprintf("p90 %.0f, from sending the write", quantile(times, .9)))
	b.record("services/changecpu", ms(b.cpu()-cpu)/30, fmt.Sprintf("the daemon %.1f, the rest is iptables-restore", ms(b.daemonCPU()-own)/30))
	return nil
}

// reach dials the Service's address until the expected endpoint answers.
func (b *bench) reach(ctx context.Context, s *corev1.Service, want string) error {
	address := net.JoinHostPort(s.Spec.ClusterIP, "80")
	err := errors.New("not tried")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		var got string
		if got, err = b.ask(ctx, address); err == nil && got == want {
			return nil
		}
		err = fmt.Errorf("got %q, want %q: %w", got, want, err)
	}
	return fmt.Errorf("service %s at %s does not answer: %w", s.Name, address, err)
}

func (b *bench) ask(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	conn, err := b.node.Dial(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
	data, err := io.ReadAll(conn)
	return string(data), err
}

// listen gives the node the endpoints' addresses and answers on them.
func (b *bench) listen() (stop func(), err error) {
	for i := range endpointsEach {
		out, err := exec.Command("nsenter", "--net="+b.node.NetNS(), "--", "ip", "addr", "add", target(i)+"/32", "dev", "lo").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
	}
	var l net.Listener
	nsErr := b.node.Inside(func() { l, err = net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", targetPort)) })
	if err := errors.Join(nsErr, err); err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, conn.LocalAddr().(*net.TCPAddr).IP.String())
			_ = conn.Close()
		}
	}()
	return func() { _ = l.Close() }, nil
}

func intOrString(port int32) intstr.IntOrString { return intstr.FromInt32(port) }
