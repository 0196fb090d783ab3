package join_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"codeberg.org/skiff/skiff/agent/join"
)

// net of fake servers: those in down refuse; every attempt is recorded.
type fakeNet struct {
	down  map[string]bool
	tried []string
}

func (f *fakeNet) dial(_ context.Context, _, addr string) (net.Conn, error) {
	f.tried = append(f.tried, addr)
	if f.down[addr] {
		return nil, errors.New(addr + " refuses")
	}
	c, other := net.Pipe()
	go func() { // the other end lives as long as this one
		other.Read(make([]byte, 1))
		other.Close()
	}()
	return c, nil
}

func TestBalancer(t *testing.T) {
	clk := &clock{now: time.Now()}
	n := &fakeNet{down: map[string]bool{}}
	var saved []string
	b := join.NewBalancer(join.BalancerConfig{
		Servers: []string{"a:1", "b:1", "bad"}, First: "lb:1", Dial: n.dial, Now: clk.Now,
		Save: func(s []string) error { saved = s; return nil },
	})
	dial := func(want string) net.Conn {
		t.Helper()
		n.tried = nil
		c, err := b.Dial(context.Background(), "tcp", "ignored:1")
		if got := fmt.Sprint(n.tried); got != want {
			t.Errorf("tried %s, want %s (%v)", got, want, err)
		}
		return c
	}
	closeAll := []net.Conn{dial("[a:1]")}
	n.down["a:1"] = true
	closeAll = append(closeAll, dial("[a:1 b:1]"), dial("[b:1]")) // the bad one is remembered
	n.down["a:1"] = false
	clk.Advance(3 * time.Second)
	closeAll = append(closeAll, dial("[b:1]")) // the one that works is kept
	n.down["b:1"] = true
	onA := dial("[b:1 a:1]")
	n.down["a:1"], n.down["lb:1"] = true, true
	if c := dial("[a:1 lb:1 b:1]"); c != nil {
		t.Error("connected to nothing")
	}
	_, err := b.Dial(context.Background(), "tcp", "")
	if err == nil || !strings.Contains(err.Error(), "a:1 refuses") || !strings.Contains(err.Error(), "b:1 refuses") {
		t.Errorf("%v", err)
	}

	_, changed := b.Servers()
	b.Set([]string{"d:1", "b:1", "d:1"})
	select {
	case <-changed:
	default:
		t.Error("the change was not told")
	}
	if got, _ := b.Servers(); !reflect.DeepEqual(got, []string{"b:1", "d:1", "lb:1"}) || !reflect.DeepEqual(saved, []string{"b:1", "d:1"}) {
		t.Errorf("%v, saved %v", got, saved)
	}
	onA.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := onA.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("a connection to a server that left: %v", err)
	}
	b.Set(nil)
	if got, _ := b.Servers(); len(got) != 3 {
		t.Errorf("an empty list was taken: %v", got)
	}
	for _, c := range closeAll {
		c.Close()
	}
}

func TestFollow(t *testing.T) {
	client := fake.NewClientset(&corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}, {IP: "2001:db8::1"}}, Ports: []corev1.EndpointPort{{Name: "https", Port: 6443}}}},
	})
	b := join.NewBalancer(join.BalancerConfig{First: "first:1"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Follow(ctx, client) }()
	eventually(t, "told", func() bool {
		got, _ := b.Servers()
		return reflect.DeepEqual(got, []string{"192.0.2.1:6443", "[2001:db8::1]:6443", "first:1"})
	})
	cancel()
	<-done
}
