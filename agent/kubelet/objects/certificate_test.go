package objects

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

func TestKeysProveThemselves(t *testing.T) {
	for _, kind := range []string{"RSA3072", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"} {
		key, stub, err := newKey(kind)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		req, err := x509.ParseCertificateRequest(stub)
		if err == nil {
			err = req.CheckSignature()
		}
		if block, _ := pem.Decode(key); err != nil || block == nil || block.Type != "PRIVATE KEY" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if _, _, err := newKey("DSA"); err == nil {
		t.Error("an unknown type makes a key")
	}
}

func certificatePod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u"}, Spec: corev1.PodSpec{NodeName: "n", ServiceAccountName: "sa"}}
}

func newCertificateCache(t *testing.T, client *fake.Clientset, now func() time.Time, changed chan types.UID) *Cache {
	c := New(Config{Client: client, Dir: t.TempDir(), Now: now, Log: slog.New(slog.DiscardHandler),
		NodeUID: func() types.UID { return "node" }, Changed: func(uid types.UID) { changed <- uid }})
	c.Want("u", []Ref{{KindConfigMap, "ns", "any"}})
	t.Cleanup(func() {
		c.stop()
		c.wg.Wait()
	})
	return c
}

// sign answers the first request that is open with a condition. It says so again and again, until done: the watches of the fake server
// begin with what comes next.
func sign(t *testing.T, client *fake.Clientset, done <-chan struct{}, chain string, refresh, end time.Time, condition string) {
	requests, name := client.CertificatesV1().PodCertificateRequests("ns"), ""
	for {
		select {
		case <-done:
			return
		case <-time.After(5 * time.Millisecond):
		}
		list, err := requests.List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		for i := range list.Items {
			r := &list.Items[i]
			if len(r.Status.Conditions) > 0 && r.Name != name {
				continue
			}
			name = r.Name
			r.Status = certificatesv1.PodCertificateRequestStatus{CertificateChain: chain, BeginRefreshAt: &metav1.Time{Time: refresh}, NotAfter: &metav1.Time{Time: end},
				Conditions: []metav1.Condition{{Type: condition, Status: metav1.ConditionTrue, Reason: "Test"}}}
			if _, err := requests.UpdateStatus(context.Background(), r, metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
}

// signing runs sign until the returned func is called.
func signing(t *testing.T, client *fake.Clientset, chain string, refresh, end time.Time, condition string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		sign(t, client, done, chain, refresh, end, condition)
	}()
	return func() {
		close(done)
		<-ended
	}
}

// named gives requests the names that a server makes.
func named(client *fake.Clientset) *fake.Clientset {
	n := 0
	client.PrependReactor("create", "podcertificaterequests", func(a k8stesting.Action) (bool, runtime.Object, error) {
		n++
		a.(k8stesting.CreateAction).GetObject().(*certificatesv1.PodCertificateRequest).Name = fmt.Sprint("req-", n)
		return false, nil, nil
	})
	return client
}

func chainOf(s string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(s)}))
}

func TestCertificateIsIssuedKeptAndRenewed(t *testing.T) {
	client := named(fake.NewClientset(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa", UID: "sa-uid"}}))
	at := time.Now()
	changed := make(chan types.UID, 10)
	c := newCertificateCache(t, client, func() time.Time { return at }, changed)
	p := &corev1.PodCertificateProjection{SignerName: "example.com/s", KeyType: "ED25519"}
	stop := signing(t, client, "comment\n"+chainOf("one"), at.Add(time.Hour), at.Add(2*time.Hour), certificatesv1.PodCertificateRequestConditionTypeIssued)
	key, chain, refresh, err := c.Certificate(context.Background(), certificatePod(), "v", 0, p)
	if err != nil || string(chain) != chainOf("one") || !bytes.Contains(key, []byte("PRIVATE KEY")) || !refresh.Equal(at.Add(time.Hour)) {
		t.Fatalf("%q %q %v %v", key, chain, refresh, err)
	}
	stop()
	<-changed
	other := newCertificateCache(t, client, func() time.Time { return at }, changed)
	other.cfg.Dir = c.cfg.Dir
	if again, _, _, err := other.Certificate(context.Background(), certificatePod(), "v", 0, p); err != nil || !bytes.Equal(again, key) {
		t.Errorf("after a restart: %v", err)
	}
	at = at.Add(90 * time.Minute)
	if again, _, _, err := c.Certificate(context.Background(), certificatePod(), "v", 0, p); err != nil || !bytes.Equal(again, key) {
		t.Errorf("while it is renewed: %v", err)
	}
	stop = signing(t, client, chainOf("two"), at.Add(time.Hour), at.Add(2*time.Hour), certificatesv1.PodCertificateRequestConditionTypeIssued)
	<-changed
	stop()
	if _, chain, _, err := c.Certificate(context.Background(), certificatePod(), "v", 0, p); err != nil || string(chain) != chainOf("two") {
		t.Errorf("renewed: %q %v", chain, err)
	}
}

func TestARefusalIsFinal(t *testing.T) {
	client := named(fake.NewClientset(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "sa"}}))
	c := newCertificateCache(t, client, time.Now, make(chan types.UID, 10))
	p := &corev1.PodCertificateProjection{SignerName: "example.com/s", KeyType: "ED25519"}
	defer signing(t, client, "", time.Time{}, time.Time{}, certificatesv1.PodCertificateRequestConditionTypeDenied)()
	for range 2 {
		if _, _, _, err := c.Certificate(context.Background(), certificatePod(), "v", 0, p); err == nil || !strings.Contains(err.Error(), "denied") {
			t.Errorf("error %v", err)
		}
	}
	if list, _ := client.CertificatesV1().PodCertificateRequests("ns").List(context.Background(), metav1.ListOptions{}); len(list.Items) != 1 {
		t.Errorf("%d requests", len(list.Items))
	}
}

func TestTrustAnchors(t *testing.T) {
	bundle := func(name, signer, label string, certs ...string) certificatesv1.ClusterTrustBundle {
		b := certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"l": label}}}
		b.Spec.SignerName = signer
		for _, c := range certs {
			b.Spec.TrustBundle += chainOf(c)
		}
		return b
	}
	all := []certificatesv1.ClusterTrustBundle{bundle("lone", "", "x", "a", "b"), bundle("s:1", "s", "x", "b", "c"), bundle("s:2", "s", "y", "c", "d")}
	signer, name, missing := "s", "lone", "none"
	for want, p := range map[string]*corev1.ClusterTrustBundleProjection{
		"ab":  {Name: &name},
		"bc":  {SignerName: &signer, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"l": "x"}}},
		"bcd": {SignerName: &signer, LabelSelector: &metav1.LabelSelector{}},
	} {
		got, err := selectBundles(all, p)
		if err != nil {
			t.Fatal(err)
		}
		data := anchors(got)
		for _, c := range "abcd" {
			if n := strings.Count(string(data), chainOf(string(c))); (n == 1) != strings.ContainsRune(want, c) {
				t.Errorf("%s: %d of %c", want, n, c)
			}
		}
	}
	for _, p := range []*corev1.ClusterTrustBundleProjection{{Name: &missing}, {SignerName: &signer}, {SignerName: &missing, LabelSelector: &metav1.LabelSelector{}}} {
		if _, err := selectBundles(all, p); err == nil {
			t.Errorf("%+v selects something", p)
		}
	}
	list := &certificatesv1.ClusterTrustBundleList{Items: all}
	next := applied(list, watch.Event{Type: watch.Deleted, Object: &all[1]})
	if len(next.Items) != 2 || len(list.Items) != 3 {
		t.Errorf("%d and %d bundles after a deletion", len(next.Items), len(list.Items))
	}
}
