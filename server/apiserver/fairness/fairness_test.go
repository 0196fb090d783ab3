package fairness

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"net/http/httptest"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/ptr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newFairness(t testing.TB, cfg Config) *Fairness {
	t.Helper()
	f, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func person(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: append(groups, user.AllAuthenticated)}
}

func TestTheObjectsOfANewClusterClassify(t *testing.T) {
	f := newFairness(t, Config{})
	account := func(ns, name string) user.Info {
		return person("system:serviceaccount:"+ns+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+ns)
	}
	node := person("system:node:a", "system:nodes")
	for _, c := range []struct {
		r             Request
		schema, level string
	}{
		{Request{User: person("admin", "system:masters"), Resource: true, Verb: "list", Plural: "pods"}, "exempt", "exempt"},
		{Request{User: person("admin", "system:masters"), Verb: "get", Path: "/metrics"}, "exempt", "exempt"},
		{Request{User: node, Resource: true, Verb: "update", Group: "coordination.k8s.io", Plural: "leases", Namespace: "kube-node-lease"}, "system-node-high", "node-high"},
		{Request{User: node, Resource: true, Verb: "patch", Plural: "nodes", Subresource: "status"}, "system-node-high", "node-high"},
		{Request{User: node, Resource: true, Verb: "get", Plural: "secrets", Namespace: "x"}, "system-nodes", "system"},
		{Request{User: account("kube-system", "a"), Resource: true, Verb: "get", Plural: "pods", Namespace: "x"}, "kube-system-service-accounts", "workload-high"},
		{Request{User: account("x", "a"), Resource: true, Verb: "get", Plural: "pods", Namespace: "x"}, "service-accounts", "workload-low"},
		{Request{User: account("kube-system", "a"), Resource: true, Verb: "update", Group: "coordination.k8s.io", Plural: "leases", Namespace: "x"}, "system-leader-election", "leader-election"},
		{Request{User: person("jane"), Resource: true, Verb: "get", Plural: "pods", Namespace: "x"}, "global-default", "global-default"},
		{Request{User: &user.DefaultInfo{Name: "system:anonymous", Groups: []string{user.AllUnauthenticated}}, Verb: "get", Path: "/healthz"}, "probes", "exempt"},
		{Request{User: &user.DefaultInfo{Name: "nobody"}, Verb: "get", Path: "/x"}, "catch-all", "catch-all"},
	} {
		class, _ := f.Classify(&c.r)
		if schema, level := class.Names(); schema != c.schema || level != c.level {
			t.Errorf("%s %s %s: %s → %s, want %s → %s", c.r.userName(), c.r.Verb, c.r.what(), schema, level, c.schema, c.level)
		}
	}
}

func TestRules(t *testing.T) {
	sa := flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindServiceAccount, ServiceAccount: &flowcontrolv1.ServiceAccountSubject{Namespace: "ns", Name: "*"}}
	rule := compileRule(&flowcontrolv1.PolicyRulesWithSubjects{
		Subjects: []flowcontrolv1.Subject{sa},
		ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments", "deployments/scale"},
			Namespaces: []string{"a"}, ClusterScope: false}},
		NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"*"}, NonResourceURLs: []string{"/health*", "/x"}}},
	})
	who := "system:serviceaccount:ns:b"
	for _, c := range []struct {
		who  string
		r    Request
		want bool
	}{
		{who, Request{Resource: true, Verb: "get", Group: "apps", Plural: "deployments", Namespace: "a"}, true},
		{who, Request{Resource: true, Verb: "get", Group: "apps", Plural: "deployments", Subresource: "scale", Namespace: "a"}, true},
		{who, Request{Resource: true, Verb: "get", Group: "apps", Plural: "deployments", Subresource: "status", Namespace: "a"}, false},
		{who, Request{Resource: true, Verb: "get", Group: "apps", Plural: "deployments", Namespace: "b"}, false},
		{who, Request{Resource: true, Verb: "get", Group: "apps", Plural: "deployments"}, false},
		{who, Request{Resource: true, Verb: "list", Group: "apps", Plural: "deployments", Namespace: "a"}, false},
		{who, Request{Verb: "post", Path: "/healthz"}, true},
		{who, Request{Verb: "post", Path: "/xy"}, false},
		{"system:serviceaccount:other:b", Request{Verb: "post", Path: "/x"}, false},
	} {
		if got := rule.matches(&c.r, c.who, nil); got != c.want {
			t.Errorf("%s %+v: %v", c.who, c.r, got)
		}
	}
}

func TestHandsAreDistinctAndDifferent(t *testing.T) {
	hands := map[string]int{}
	for i := range 10000 {
		var cards [maxHand]int
		hand := deal(rand.Uint64(), 64, 6, &cards)
		if len(hand) != 6 || !slices.IsSorted(hand) || len(slices.Compact(slices.Clone(hand))) != 6 || hand[0] < 0 || hand[5] >= 64 {
			t.Fatalf("hand %d is %v", i, hand)
		}
		hands[fmt.Sprint(hand)]++
	}
	if len(hands) < 9990 {
		t.Errorf("%d different hands of 10000", len(hands))
	}
	var cards [maxHand]int
	if hand := deal(7, 3, 8, &cards); fmt.Sprint(hand) != "[0 1 2]" {
		t.Errorf("all of three: %v", hand)
	}
}

// one makes a configuration of a single limited level for everybody.
func one(shares, queues, hand, length int32) ([]*flowcontrolv1.FlowSchema, []*flowcontrolv1.PriorityLevelConfiguration) {
	level := &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "all", UID: "level-uid"}, Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
		Type: flowcontrolv1.PriorityLevelEnablementLimited, Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares,
			LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: length}}}}}
	schema := mandatorySchemas()[1]
	schema.Name, schema.UID, schema.Spec.MatchingPrecedence, schema.Spec.PriorityLevelConfiguration.Name = "everybody", "schema-uid", 2, "all"
	catchAll := mandatoryLevels()[0]
	catchAll.Spec.Limited.NominalConcurrencyShares = ptr.To(int32(0))
	return []*flowcontrolv1.FlowSchema{schema}, []*flowcontrolv1.PriorityLevelConfiguration{level, catchAll}
}

func enter(f *Fairness, ctx context.Context, r *Request) (Ticket, error) {
	c, flow := f.Classify(r)
	return c.Enter(ctx, r, flow)
}

func TestQueuesFillUpAndSayWhy(t *testing.T) {
	f := newFairness(t, Config{Seats: 1, Wait: 50 * time.Millisecond})
	f.Set(one(1, 1, 1, 2))
	r := &Request{User: person("a"), Resource: true, Verb: "get", Plural: "pods"}
	first, err := enter(f, t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	reasons := make(chan string, 3)
	gone, leave := context.WithCancel(t.Context())
	for i := range 2 {
		wg.Go(func() {
			ctx := t.Context()
			if i == 1 {
				ctx = gone
			}
			_, err := enter(f, ctx, r)
			var rejected *Rejected
			if errors.As(err, &rejected) {
				reasons <- rejected.Reason
			} else {
				reasons <- fmt.Sprint(err)
			}
		})
	}
	l := f.current.Load().levels["all"]
	for l.view().queued < 2 {
		time.Sleep(time.Millisecond)
	}
	_, err = enter(f, t.Context(), r)
	var rejected *Rejected
	if !errors.As(err, &rejected) || rejected.Reason != ReasonQueueFull || rejected.RetryAfter < 1 {
		t.Errorf("the third one: %v", err)
	}
	dump := httptest.NewRecorder()
	f.ServeHTTP(dump, httptest.NewRequest("GET", DebugPath+"dump_requests", nil))
	if strings.Count(dump.Body.String(), "everybody") != 2 {
		t.Errorf("dump of requests:\n%s", dump.Body)
	}
	leave()
	wg.Wait()
	if got := []string{<-reasons, <-reasons}; !slices.Contains(got, ReasonTimeout) || !slices.Contains(got, ReasonCancelled) {
		t.Errorf("reasons %v", got)
	}
	first.Done()
	first.Done() // twice is once
	if v := l.view(); v.seats != 0 || v.requests != 0 || v.queued != 0 || v.wanted != 0 || v.active != 0 {
		t.Errorf("something is left: %+v", v)
	}
}

// TestFairOrder is the law of the queues, over random loads: of two flows in queues of their own that both always have
// work waiting, neither gets more service than the other by more than a few of the largest requests.
func TestFairOrder(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		seats := 1 + rng.IntN(12)
		l := &level{config: levelConfig{queuing: true, nominal: seats, most: seats}, limit: seats}
		flows := 2 + rng.IntN(5)
		l.order.resize(flows)
		f := &Fairness{cfg: Config{Now: time.Now}}
		class := &Class{fairness: f, level: l, metrics: newMetrics().class("l", "s")}
		type running struct {
			w    *waiter
			ends time.Time
		}
		now, service, largest := time.Unix(0, 0), make([]float64, flows), 0.0
		var run []running
		length, width := make([]time.Duration, flows), make([]int, flows)
		for i := range flows {
			length[i], width[i] = time.Duration(1+rng.IntN(50))*time.Millisecond, 1+rng.IntN(min(seats, 4))
		}
		var queued []*waiter
		fill := func() {
			for i, q := range l.order.queues {
				for len(q.waiting) < 3 {
					w := &waiter{class: class, queue: q, seats: width[i], since: now, granted: make(chan struct{})}
					l.order.enqueue(w)
					l.queued++
					l.wanted += w.seats
					queued = append(queued, w)
				}
			}
		}
		for range 3000 {
			fill()
			l.dispatch(now)
			queued = slices.DeleteFunc(queued, func(w *waiter) bool {
				if w.running {
					i := slices.Index(l.order.queues, w.queue)
					took := time.Duration(float64(length[i]) * (0.5 + rng.Float64()))
					run = append(run, running{w, now.Add(took)})
					largest = max(largest, took.Seconds()*float64(w.seats))
				}
				return w.running
			})
			slices.SortFunc(run, func(a, b running) int { return a.ends.Compare(b.ends) })
			if len(run) == 0 {
				t.Fatalf("seed %d: nothing runs", seed)
			}
			done := run[0]
			run, now = run[1:], done.ends
			took := now.Sub(done.w.began)
			l.order.end(done.w.queue, done.w.seats, took, done.w.charged)
			l.seats -= done.w.seats
			service[slices.Index(l.order.queues, done.w.queue)] += float64(done.w.seats) * took.Seconds()
		}
		// What runs is charged but not served yet, so the bound grows with the seats.
		low, high := slices.Min(service), slices.Max(service)
		if bound := largest * float64(2+2*seats); high-low > bound {
			t.Errorf("seed %d: %d seats, service from %.3f to %.3f, apart by more than %.3f: %v", seed, seats, low, high, bound, service)
		}
	}
}

func TestNobodySavesUpForABurst(t *testing.T) {
	o := order{}
	o.resize(2)
	busy, idle := o.queues[0], o.queues[1]
	for range 1000 {
		o.arrive(busy)
		charged := o.begin(busy, 1)
		o.end(busy, 1, time.Second, charged)
	}
	o.arrive(idle)
	if behind := busy.clock - idle.clock; behind > 2 {
		t.Errorf("a queue that was idle is %.1f seat-seconds ahead", behind)
	}
}

func TestDivide(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))
		total := float64(10 + rng.IntN(600))
		claims := make([]claim, 1+rng.IntN(8))
		left, most := total, 0.0
		for i := range claims {
			least := rng.Float64() * left / 2
			left -= least
			claims[i] = claim{wants: least + rng.Float64()*100, least: least, most: least + rng.Float64()*total}
			most += claims[i].most
		}
		shares, sum := divide(total, claims), 0.0
		for i, s := range shares {
			sum += s
			if s < claims[i].least-1e-6 || s > claims[i].most+1e-6 {
				t.Errorf("seed %d: share %f outside of %+v", seed, s, claims[i])
			}
		}
		if want := min(total, most); math.Abs(sum-want) > 1e-3*want {
			t.Errorf("seed %d: %f of %f given out", seed, sum, want)
		}
	}
}

func TestSeatsAreBorrowedAndComeBack(t *testing.T) {
	now := time.Unix(1000, 0)
	f := newFairness(t, Config{Seats: 100, Wait: time.Second, Now: func() time.Time { return now }})
	jane := &Request{User: person("jane"), Resource: true, Verb: "get", Plural: "pods", Namespace: "x"}
	class, _ := f.Classify(jane)
	nominal := class.level.view().config.nominal
	now = now.Add(time.Second)
	var tickets []Ticket
	for range nominal * 3 {
		ticket, err := enter(f, t.Context(), jane)
		if err != nil {
			t.Fatalf("%d of %d: %v", len(tickets), nominal, err)
		}
		tickets = append(tickets, ticket)
		now = now.Add(time.Second)
	}
	sum, lent := 0, f.current.Load().levels["workload-low"].view()
	for _, l := range f.current.Load().levels {
		v := l.view()
		sum += v.limit
		if !v.config.exempt && v.limit < v.config.least {
			t.Errorf("%s has %d seats, fewer than the %d it keeps", v.name, v.limit, v.config.least)
		}
	}
	if sum > 110 || lent.limit >= lent.config.nominal {
		t.Errorf("%d seats in all; workload-low has %d of %d", sum, lent.limit, lent.config.nominal)
	}
	for i := range tickets {
		tickets[i].Done()
	}
	// The lender wants them again.
	worker := &Request{User: person("system:serviceaccount:x:y", "system:serviceaccounts"), Resource: true, Verb: "get", Plural: "pods", Namespace: "x"}
	tickets = nil
	for range lent.config.nominal {
		now = now.Add(time.Second)
		ticket, err := enter(f, t.Context(), worker)
		if err != nil {
			t.Fatalf("the lender has got %d of %d: %v", len(tickets), lent.config.nominal, err)
		}
		tickets = append(tickets, ticket)
	}
	for i := range tickets {
		tickets[i].Done()
	}
}

func TestExtraWorkIsBounded(t *testing.T) {
	if ExtraWork(10) != 0 || ExtraWork(1000) != 5*time.Millisecond || ExtraWork(1e9) != mostExtraWork || Width(0) != 1 || Width(500) != 1 || Width(5000) != 10 || Width(1e6) != 10 {
		t.Errorf("extra %v %v, width %d %d", ExtraWork(1000), ExtraWork(1e9), Width(500), Width(5000))
	}
	f := newFairness(t, Config{Seats: 2})
	f.Set(one(1, 4, 1, 10))
	r := &Request{User: person("a"), Resource: true, Verb: "create", Plural: "pods"}
	ticket, err := enter(f, t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	ticket.DoneAfter(20 * time.Millisecond)
	l := f.current.Load().levels["all"]
	if l.view().seats != 1 {
		t.Errorf("%d seats in use right after the write", l.view().seats)
	}
	time.Sleep(60 * time.Millisecond)
	if l.view().seats != 0 {
		t.Errorf("%d seats in use long after", l.view().seats)
	}
}

func TestHeadersAndReconfiguration(t *testing.T) {
	f := newFairness(t, Config{Seats: 10, Metrics: prometheus.NewRegistry()})
	f.Set(one(1, 4, 1, 10))
	r := &Request{User: person("a"), Resource: true, Verb: "get", Plural: "pods"}
	before, _ := f.Classify(r)
	h := map[string][]string{}
	before.SetHeaders(h)
	if h["X-Kubernetes-Pf-Flowschema-Uid"][0] != "schema-uid" || h["X-Kubernetes-Pf-Prioritylevel-Uid"][0] != "level-uid" {
		t.Errorf("headers %v", h)
	}
	ticket, err := enter(f, t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	f.Set(one(1, 8, 2, 10))
	if after, _ := f.Classify(r); after != before {
		t.Error("a class was made anew though nothing of it changed")
	}
	f.Set(nil, nil)
	if c, _ := f.Classify(r); c.schema != flowcontrolv1.FlowSchemaNameCatchAll {
		t.Errorf("without objects: %s", c.schema)
	}
	ticket.Done()
	families, err := f.cfg.Metrics.Gather()
	if err != nil || len(families) == 0 {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	f := newFairness(t, Config{Seats: 8, Wait: 5 * time.Second})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			r := &Request{User: person(fmt.Sprint("user", i%7)), Resource: true, Verb: "get", Plural: "pods", Width: 1 + i%5}
			for range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i)*time.Millisecond)
				if ticket, err := enter(f, ctx, r); err == nil {
					ticket.DoneAfter(ExtraWork(i * 20))
				}
				cancel()
			}
		})
	}
	wg.Wait()
	time.Sleep(2 * mostExtraWork)
	for name, l := range f.current.Load().levels {
		if v := l.view(); v.seats != 0 || v.requests != 0 || v.queued != 0 || v.wanted != 0 || v.active != 0 {
			t.Errorf("%s: something is left: %+v", name, v)
		}
	}
}

func TestDangling(t *testing.T) {
	now := metav1.NewTime(time.Unix(5, 0))
	fs := mandatorySchemas()[1]
	next := dangling(fs, false, now)
	if c := next.Status.Conditions[0]; c.Status != flowcontrolv1.ConditionTrue || c.Reason != "NotFound" || c.LastTransitionTime != now {
		t.Errorf("%+v", c)
	}
	if dangling(next, false, now) != nil {
		t.Error("a second time changes something")
	}
	if c := dangling(next, true, now).Status.Conditions; len(c) != 1 || c[0].Status != flowcontrolv1.ConditionFalse || c[0].Reason != "Found" {
		t.Errorf("%+v", c)
	}
}

func BenchmarkNotQueued(b *testing.B) {
	f := newFairness(b, Config{Metrics: prometheus.NewRegistry()})
	u, ctx := person("system:serviceaccount:x:y", "system:serviceaccounts", "system:serviceaccounts:x"), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		r := Request{User: u, Resource: true, Verb: "get", Plural: "pods", Namespace: "x"}
		c, flow := f.Classify(&r)
		t, err := c.Enter(ctx, &r, flow)
		if err != nil {
			b.Fatal(err)
		}
		t.Done()
	}
}
