package join_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"codeberg.org/skiff/skiff/agent/join"
	"codeberg.org/skiff/skiff/internal/joinapi"
	serverjoin "codeberg.org/skiff/skiff/server/join"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/tunnel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// passwords is a Passwords in memory.
type passwords struct {
	mu sync.Mutex
	m  map[string]serverjoin.Record
}

func (p *passwords) Get(_ context.Context, node string) (serverjoin.Record, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.m[node], nil
}

func (p *passwords) Put(_ context.Context, node string, old, next serverjoin.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m[node].Hash != old.Hash {
		return errors.New("conflict")
	}
	p.m[node] = next
	return nil
}

// clock is a clock that tests set.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	wait []chan time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) After(time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	c.wait = append(c.wait, ch)
	return ch
}

// Advance sets the clock and wakes everybody who waits: those whose time has not come go on waiting by themselves.
func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for _, ch := range c.wait {
		ch <- c.now
	}
	c.wait = nil
}

// controlPlane is a server that nodes can join and open tunnels to.
type controlPlane struct {
	t       *testing.T
	ca      *pki.CA
	clock   *clock
	records *passwords
	// kubeletCA signs serving certificates.
	kubeletCA *pki.CA
	nodes     sync.Map // that exist
	tunnels   *tunnel.Server
	addr      string
	stop      func()
	posts     atomic.Int64
	mux       *http.ServeMux
}

func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	clk := &clock{now: time.Now()}
	ca, err := pki.LoadCA(t.TempDir(), "ca", "test-ca", clk.Now())
	if err != nil {
		t.Fatal(err)
	}
	kubeletCA, err := pki.LoadCA(t.TempDir(), "kubelet-ca", "test-kubelet-ca", clk.Now())
	if err != nil {
		t.Fatal(err)
	}
	cp := &controlPlane{t: t, ca: ca, kubeletCA: kubeletCA, clock: clk, mux: http.NewServeMux(), records: &passwords{m: map[string]serverjoin.Record{}}}
	handler := serverjoin.New(serverjoin.Config{
		CA: ca, KubeletCA: kubeletCA, ServerSecret: func() string { return "server-secret" }, AgentSecret: func() string { return "agent-secret" },
		Records: cp.records, Now: clk.Now,
		NodeExists: func(n string) bool { _, ok := cp.nodes.Load(n); return ok },
		Reserved: &serverjoin.Reserved{
			ServerNames:  func() []string { return []string{"server1", "api.example.com"} },
			Servers:      func() []string { return []string{cp.addr} },
			ServiceCIDRs: func() []string { return []string{"10.43.0.0/16"} },
			NodeAt: func(a netip.Addr) string {
				if a == netip.MustParseAddr("192.0.2.9") {
					return "othernode"
				}
				return ""
			},
		},
		Cluster: func() joinapi.Cluster {
			return joinapi.Cluster{ClusterCIDRs: []string{"10.42.0.0/16"}, ServiceCIDRs: []string{"10.43.0.0/16"}, ClusterDNS: "10.43.0.10", ClusterDomain: "cluster.local", Servers: []string{cp.addr}}
		},
	})
	cp.mux.HandleFunc(joinapi.CACertsPath, func(w http.ResponseWriter, _ *http.Request) { w.Write(ca.PEM()) })
	cp.mux.HandleFunc(joinapi.CertificatesPath, func(w http.ResponseWriter, r *http.Request) {
		cp.posts.Add(1)
		handler.ServeHTTP(w, r)
	})
	cp.mux.HandleFunc(joinapi.TunnelPath, func(w http.ResponseWriter, r *http.Request) { cp.tunnels.ServeHTTP(w, r) })
	cp.start("127.0.0.1:0")
	t.Cleanup(func() { cp.stop() })
	return cp
}

// start serves on addr, with new tunnels, as a server does that was restarted.
func (cp *controlPlane) start(addr string) {
	cp.t.Helper()
	cert, err := cp.ca.Issue(pki.Leaf{CommonName: "kube-apiserver", DNSNames: []string{joinapi.ServerName, "localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Server: true}, cp.clock.Now())
	if err != nil {
		cp.t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		cp.t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(cp.mux)
	srv.Listener.Close()
	srv.Listener = l
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }}
	ctx, cancel := context.WithCancel(context.Background())
	cp.tunnels = tunnel.New(tunnel.Config{ClientCAs: cp.ca.Pool(), Now: cp.clock.Now, PingEvery: time.Second, PingTimeout: time.Minute})
	done := make(chan error, 1)
	go func() { done <- cp.tunnels.Run(ctx) }()
	cp.addr = l.Addr().String()
	srv.StartTLS()
	var once sync.Once
	cp.stop = func() {
		once.Do(func() {
			cancel()
			<-done
			srv.CloseClientConnections()
			srv.Close()
		})
	}
}

func (cp *controlPlane) token(user, secret string) string {
	return joinapi.Token{Hash: cp.ca.Hash(), User: user, Secret: secret}.String()
}

func (cp *controlPlane) config(dir string) join.Config {
	return join.Config{
		Server: "https://" + cp.addr, Token: cp.token("node", "agent-secret"), NodeName: "node1", Dir: dir,
		Addresses: func() []string { return []string{"192.0.2.1"} }, Now: cp.clock.Now, After: cp.clock.After,
	}
}

func (cp *controlPlane) join(dir string) *join.Identity {
	cp.t.Helper()
	id, err := join.Open(context.Background(), cp.config(dir))
	if err != nil {
		cp.t.Fatal(err)
	}
	return id
}

func TestJoin(t *testing.T) {
	cp := newControlPlane(t)
	dir := filepath.Join(t.TempDir(), "tls")
	id := cp.join(dir)
	client, _ := id.Client(nil)
	serving, _ := id.Serving(nil)
	proxy, _ := id.Proxy(nil)
	if s := client.Leaf.Subject; s.CommonName != "system:node:node1" || len(s.Organization) != 1 || s.Organization[0] != "system:nodes" {
		t.Errorf("client: %v", s)
	}
	if proxy.Leaf.Subject.CommonName != "system:kube-proxy" {
		t.Errorf("proxy: %v", proxy.Leaf.Subject)
	}
	for _, name := range []string{"node1", "192.0.2.1", "127.0.0.1", "localhost"} {
		if err := serving.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if serving.Leaf.VerifyHostname(joinapi.ServerName) == nil {
		t.Error("a node's certificate passes for the API server's")
	}
	if c := id.Cluster(); c.ClusterDNS != "10.43.0.10" || c.Servers[0] != cp.addr {
		t.Errorf("cluster: %+v", c)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if st, _ := e.Info(); st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), st.Mode())
		}
	}

	// From here on it needs no server, and no token.
	cp.stop()
	conf := cp.config(dir)
	conf.Token = ""
	again, err := join.Open(context.Background(), conf)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := again.Client(nil); !c.Leaf.Equal(client.Leaf) {
		t.Error("another certificate")
	}
}

func TestRefusals(t *testing.T) {
	cp := newControlPlane(t)
	dir := t.TempDir()
	cases := map[string]struct {
		change func(*join.Config)
		want   error
		says   string
	}{
		"pin":              {func(c *join.Config) { c.Token = "SK10" + strings.Repeat("ab", 32) + "::node:agent-secret" }, join.ErrWrongCA, "another cluster"},
		"secret":           {func(c *join.Config) { c.Token = cp.token("node", "wrong") }, join.ErrBadToken, "join token"},
		"empty user":       {func(c *join.Config) { c.Token = cp.token("admin", "agent-secret") }, join.ErrBadToken, "join token"},
		"not a token":      {func(c *join.Config) { c.Token = "SK10x" }, joinapi.ErrToken, "must look like"},
		"no token":         {func(c *join.Config) { c.Token = "" }, nil, "needs a token"},
		"url":              {func(c *join.Config) { c.Server = "http://x" }, nil, "https://HOST:PORT"},
		"server's name":    {func(c *join.Config) { c.NodeName = "server1" }, join.ErrNameTaken, "API server"},
		"tls-san":          {func(c *join.Config) { c.NodeName = "api.example.com" }, join.ErrNameTaken, "API server"},
		"kubernetes":       {func(c *join.Config) { c.NodeName = "kubernetes.default.svc" }, join.ErrNameTaken, "API server"},
		"bad name":         {func(c *join.Config) { c.NodeName = "UPPER_case" }, join.ErrRefused, "RFC 1123"},
		"Service address":  {func(c *join.Config) { c.Addresses = func() []string { return []string{"10.43.0.1"} } }, join.ErrNameTaken, "service range"},
		"other's address":  {func(c *join.Config) { c.Addresses = func() []string { return []string{"192.0.2.9"} } }, join.ErrNameTaken, "othernode"},
		"address as name":  {func(c *join.Config) { c.NodeName = "10.43.0.1" }, join.ErrRefused, "is an address"},
		"wildcard address": {func(c *join.Config) { c.Addresses = func() []string { return []string{"*"} } }, join.ErrRefused, "address"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conf := cp.config(filepath.Join(dir, name))
			c.change(&conf)
			_, err := join.Open(context.Background(), conf)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, name, "client.pem")); err == nil {
				t.Error("it has a certificate all the same")
			}
		})
	}
}

// TestWrongPinSendsNothing: before the authority is verified no secret leaves the node.
func TestWrongPinSendsNothing(t *testing.T) {
	cp := newControlPlane(t)
	conf := cp.config(t.TempDir())
	conf.Token = "SK10" + strings.Repeat("00", 32) + "::node:agent-secret"
	if _, err := join.Open(context.Background(), conf); !errors.Is(err, join.ErrWrongCA) {
		t.Fatal(err)
	}
	if cp.posts.Load() != 0 {
		t.Error("the node asked a server that it does not trust")
	}
}

func TestNodeNameIsOwned(t *testing.T) {
	cp := newControlPlane(t)
	first, thief := t.TempDir(), t.TempDir()
	cp.join(first)
	cp.nodes.Store("node1", true)
	if _, err := join.Open(context.Background(), cp.config(thief)); !errors.Is(err, join.ErrNameTaken) || !strings.Contains(err.Error(), "kubectl delete node node1") {
		t.Errorf("thief: %v", err)
	}
	// The owner lost its certificates but not its password.
	os.Remove(filepath.Join(first, "client.pem"))
	cp.join(first)
	// Reinstalled, and the Node deleted.
	cp.nodes.Delete("node1")
	cp.join(thief)
	cp.nodes.Store("node1", true)
	os.Remove(filepath.Join(first, "client.pem"))
	if _, err := join.Open(context.Background(), cp.config(first)); !errors.Is(err, join.ErrNameTaken) {
		t.Errorf("the former owner: %v", err)
	}
}

// TestCertificateIsNotForOthers: a node's certificate alone gets no certificate for another node.
func TestCertificateIsNotForOthers(t *testing.T) {
	cp := newControlPlane(t)
	id := cp.join(t.TempDir())
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: id.ClientTLS(), DisableKeepAlives: true}}
	post := func(node string) (int, joinapi.Problem) {
		body, _ := json.Marshal(joinapi.Request{NodeName: node, Password: strings.Repeat("x", 32), KubeletCA: true})
		resp, err := c.Post("https://"+cp.addr+joinapi.CertificatesPath, "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var p joinapi.Problem
		json.NewDecoder(resp.Body).Decode(&p)
		return resp.StatusCode, p
	}
	if code, p := post("node2"); code != http.StatusForbidden {
		t.Errorf("node2: %d %+v", code, p)
	}
	if code, p := post("node1"); code != http.StatusBadRequest || !strings.Contains(p.Message, "signing request") {
		t.Errorf("node1 without requests: %d %+v", code, p)
	}
}

func TestDamagedFilesAreReplaced(t *testing.T) {
	cp := newControlPlane(t)
	dir := t.TempDir()
	cp.join(dir)
	for _, name := range []string{"ca.crt", "client.pem", "serving.pem", "cluster.json"} {
		os.WriteFile(filepath.Join(dir, name), []byte("\x00\x00"), 0o600)
		cp.join(dir)
	}
}

// TestYearsOff: a node that was without power until everything had expired comes back by its own key, without a token. Another key, or that of a node that was
// deleted, does not open anything.
func TestYearsOff(t *testing.T) {
	cp := newControlPlane(t)
	mine, stranger := t.TempDir(), t.TempDir()
	cp.join(mine)
	cp.nodes.Store("node1", true)
	cp.clock.Advance(3 * pki.LeafLifetime)
	cp.stop()
	cp.start(cp.addr)
	open := func(dir string) (*join.Identity, func()) {
		conf := cp.config(dir)
		conf.Token = ""
		id, err := join.Open(context.Background(), conf)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- id.Run(ctx) }()
		return id, func() { cancel(); <-done }
	}
	good := func(id *join.Identity) bool {
		c, _ := id.Client(nil)
		return c.Leaf.NotAfter.After(cp.clock.Now())
	}
	wake := func() { cp.clock.Advance(0) }

	if err := os.CopyFS(filepath.Join(stranger, "copy"), os.DirFS(mine)); err != nil {
		t.Fatal(err)
	}
	id, stop := open(mine)
	eventually(t, "back by its key", func() bool { wake(); return good(id) })
	stop()
	// Twice more: what was remembered first is the key of the second last certificate, then of none.
	for range 2 {
		cp.clock.Advance(3 * pki.LeafLifetime)
		cp.stop()
		cp.start(cp.addr)
		id, stop = open(mine)
		eventually(t, "back again", func() bool { wake(); return good(id) })
		stop()
	}
	// Somebody has an old copy of the files.
	before := cp.posts.Load()
	id, stop = open(filepath.Join(stranger, "copy"))
	eventually(t, "asked", func() bool { wake(); return cp.posts.Load() >= before+2 })
	if good(id) {
		t.Error("a key of long ago opened the cluster")
	}
	stop()
	// The Node was deleted.
	cp.nodes.Delete("node1")
	cp.clock.Advance(3 * pki.LeafLifetime)
	cp.stop()
	cp.start(cp.addr)
	before = cp.posts.Load()
	id, stop = open(mine)
	eventually(t, "asked", func() bool { wake(); return cp.posts.Load() >= before+2 })
	if good(id) {
		t.Error("a deleted node came back by itself")
	}
	stop()
}

// TestServingHasItsOwnAuthority: no client of the API takes a node for a server, whatever its name; and a node that joined before that was so gets a new certificate at once.
func TestServingHasItsOwnAuthority(t *testing.T) {
	cp := newControlPlane(t)
	dir := t.TempDir()
	id := cp.join(dir)
	serving, _ := id.Serving(nil)
	if _, err := serving.Leaf.Verify(x509.VerifyOptions{Roots: cp.ca.Pool(), CurrentTime: cp.clock.Now(), DNSName: "node1"}); err == nil {
		t.Error("a client that trusts the cluster's authority accepts a node's serving certificate")
	}
	if _, err := serving.Leaf.Verify(x509.VerifyOptions{Roots: cp.kubeletCA.Pool(), CurrentTime: cp.clock.Now(), DNSName: "node1"}); err != nil {
		t.Error(err)
	}
	// As an older agent left it.
	cert, key, err := cp.ca.IssuePEM(pki.Leaf{CommonName: "system:node:node1", DNSNames: []string{"node1"}, Server: true}, cp.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "kubelet-ca.crt"))
	os.WriteFile(filepath.Join(dir, "serving.pem"), append(cert, key...), 0o600)
	conf := cp.config(dir)
	conf.Token = ""
	if id, err = join.Open(context.Background(), conf); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- id.Run(ctx) }()
	defer func() { cancel(); <-done }()
	eventually(t, "renewed by the right authority", func() bool {
		cp.clock.Advance(0)
		serving, _ := id.Serving(nil)
		_, err := serving.Leaf.Verify(x509.VerifyOptions{Roots: cp.kubeletCA.Pool(), CurrentTime: cp.clock.Now()})
		return err == nil
	})
}

// TestDamagedPassword: it is this node's claim to its name, so it is not replaced by another that nobody knows.
func TestDamagedPassword(t *testing.T) {
	cp := newControlPlane(t)
	dir := t.TempDir()
	cp.join(dir)
	os.WriteFile(filepath.Join(dir, "node-password"), make([]byte, 48), 0o600)
	os.Remove(filepath.Join(dir, "client.pem"))
	if _, err := join.Open(context.Background(), cp.config(dir)); err == nil || !strings.Contains(err.Error(), "node-password holds no password") {
		t.Errorf("%v", err)
	}
}

func TestWaitsForTheServer(t *testing.T) {
	cp := newControlPlane(t)
	cp.stop()
	conf := cp.config(t.TempDir())
	conf.After = func(time.Duration) <-chan time.Time { return time.After(10 * time.Millisecond) }
	type result struct {
		id  *join.Identity
		err error
	}
	done := make(chan result, 1)
	go func() {
		id, err := join.Open(context.Background(), conf)
		done <- result{id, err}
	}()
	time.Sleep(50 * time.Millisecond)
	cp.start(cp.addr)
	if r := <-done; r.err != nil {
		t.Error(r.err)
	}
	cp.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	conf.Dir = t.TempDir()
	if _, err := join.Open(ctx, conf); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

func TestRenewal(t *testing.T) {
	cp := newControlPlane(t)
	dir := t.TempDir()
	id := cp.join(dir)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- id.Run(ctx) }()
	defer func() { cancel(); <-done }()
	serial := func() string { c, _ := id.Client(nil); return c.Leaf.SerialNumber.String() }
	first := serial()
	advance := func(d time.Duration) {
		for i := 0; ; i++ { // until Run waits
			cp.clock.mu.Lock()
			n := len(cp.clock.wait)
			cp.clock.mu.Unlock()
			if n > 0 {
				break
			}
			if i > 500 {
				t.Fatal("Run does not wait")
			}
			time.Sleep(time.Millisecond)
		}
		cp.clock.Advance(d)
	}
	advance(pki.LeafLifetime / 2)
	time.Sleep(20 * time.Millisecond)
	if serial() != first {
		t.Fatal("renewed too early")
	}
	eventually(t, "renewed", func() bool {
		advance(pki.LeafLifetime / 6)
		time.Sleep(20 * time.Millisecond)
		return serial() != first
	})
	second := serial()
	id.Renew()
	eventually(t, "renewed on request", func() bool { return serial() != second })
	// What is in force is also on disk.
	conf := cp.config(dir)
	again, err := join.Open(context.Background(), conf)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := again.Client(nil); c.Leaf.SerialNumber.String() != serial() {
		t.Error("another certificate on disk")
	}
}

// TestRESTFollowsRenewal: requests after a renewal show the new certificate, without any restart.
func TestRESTFollowsRenewal(t *testing.T) {
	cp := newControlPlane(t)
	var seen sync.Map
	cp.mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.TLS.PeerCertificates[0].SerialNumber.String(), true)
	})
	id := cp.join(t.TempDir())
	b := id.Balancer()
	rt := id.RESTConfig(b.Dial).Transport
	defer rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- id.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for range 2 {
		c, _ := id.Client(nil)
		resp, err := (&http.Client{Transport: rt}).Get("https://ignored.invalid/whoami")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if _, ok := seen.Load(c.Leaf.SerialNumber.String()); !ok {
			t.Error("an old certificate was shown")
		}
		id.Renew()
		eventually(t, "renewed", func() bool { n, _ := id.Client(nil); return !n.Leaf.Equal(c.Leaf) })
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("not ", what)
		}
	}
}
