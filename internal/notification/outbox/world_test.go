// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/notification"
	"github.com/goshawk-dev/goshawk/internal/notification/webhook"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
	"github.com/goshawk-dev/goshawk/internal/testing/fakes"
)

const (
	firstKey  = "first-key-with-32-characters-000"
	secondKey = "second-key-with-32-characters-00"
)

// patience is how long a test waits for a condition.
const patience = 60 * time.Second

// system is an API server, a receiver, and the processes of a test.
type system struct {
	t        *testing.T
	server   client.Client
	receiver *receiver
	// interaction is called before and after each write of a process, and when the receiver has a
	// request.
	interaction func()
	writes      atomic.Int32
	timing      Timing
	rollouts    map[string]*v1alpha1.Rollout
	names       []string
}

func newSystem(t *testing.T) *system {
	t.Helper()
	s := &system{
		t: t, receiver: newReceiver(t), interaction: func() {}, rollouts: map[string]*v1alpha1.Rollout{},
		timing: Timing{
			Record: 20 * time.Millisecond, Reload: 20 * time.Millisecond, Attempt: 5 * time.Second, MinRetry: 5 * time.Millisecond, MaxRetry: 50 * time.Millisecond,
			MaxHold: 100 * time.Millisecond, GiveUp: time.Hour, Keep: time.Hour,
		},
	}
	s.receiver.arrived = func() { s.interaction() }
	s.server = fakes.Server(t).Build()
	s.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "system", Name: "receiver"}, Data: s.secret(firstKey)})
	return s
}

func (s *system) secret(key string) map[string][]byte {
	return map[string][]byte{webhook.KeyURL: []byte(s.receiver.url), webhook.KeyAllowHTTP: []byte("true"), webhook.KeyKey: []byte(key)}
}

func (s *system) create(o client.Object) {
	s.t.Helper()
	if err := s.server.Create(context.Background(), o); err != nil {
		s.t.Fatal(err)
	}
}

// rollout creates a rollout.
func (s *system) rollout(name string, edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	s.t.Helper()
	r := build.At(time.Now().Add(time.Minute)).Rollout(name, "firmware-2", edits...)
	status := r.Status
	r.ResourceVersion = ""
	s.create(r)
	r.Status = status
	s.rollouts[name] = r
	s.names = append(s.names, name)
	s.status(name, func(*v1alpha1.RolloutStatus) {})
	return r
}

// status writes the status of a rollout.
func (s *system) status(name string, edit func(*v1alpha1.RolloutStatus)) {
	s.t.Helper()
	r := s.rollouts[name]
	edit(&r.Status)
	status := *r.Status.DeepCopy()
	if err := s.server.Status().Update(context.Background(), r); err != nil {
		s.t.Fatal(err)
	}
	r.Status = status
}

// process is one process of Goshawk.
type process struct {
	s       *system
	caches  *fakes.Caches
	outbox  *Outbox
	isDead  atomic.Bool
	stop    context.CancelFunc
	ended   chan struct{}
	metrics *prometheus.Registry
	logged  *lines
}

// lines is a log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(_, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) has(parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.all, func(line string) bool {
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	})
}

var errDead = errors.New("the process is dead")

// start starts a process that is not the leader.
func (s *system) start() *process {
	s.t.Helper()
	p := &process{s: s, caches: fakes.NewCaches(), metrics: prometheus.NewRegistry(), logged: &lines{}}
	write := func(do func() error) error {
		s.interaction()
		if p.isDead.Load() {
			return errDead
		}
		s.writes.Add(1)
		err := do()
		s.interaction()
		return err
	}
	c := interceptor.NewClient(s.server.(client.WithWatch), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			return write(func() error { return c.Create(ctx, o, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			return write(func() error { return c.Update(ctx, o, opts...) })
		},
	})
	var err error
	p.outbox, err = New(Options{
		Secret: types.NamespacedName{Namespace: "system", Name: "receiver"}, Namespace: "system", Client: c, Now: time.Now, Timing: s.timing,
		Registerer: p.metrics, Log: logr.New(funcr.New(p.logged.add, funcr.Options{Verbosity: 1}).GetSink()),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.outbox.Follow(s.t.Context(), p.caches, ""); err != nil {
		s.t.Fatal(err)
	}
	p.sync()
	return p
}

// sync lets the caches of the process have the present objects.
func (p *process) sync() {
	p.s.t.Helper()
	if err := p.caches.Sync(context.Background(), p.s.server); err != nil {
		p.s.t.Fatal(err)
	}
}

// lead makes the process the leader.
func (p *process) lead() *process {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop, p.ended = cancel, make(chan struct{})
	go func() {
		defer close(p.ended)
		_ = p.outbox.Run(ctx)
	}()
	p.s.t.Cleanup(p.end)
	return p
}

// waitIdle waits until no event of the process waits for delivery or for the answer of the
// receiver. The process of a test that counts requests ends after that: an attempt that the end of
// the process interrupts is made again by the next process.
func (p *process) waitIdle() *process {
	p.s.t.Helper()
	p.s.eventually("the process has delivered all events", func() bool {
		p.outbox.mu.Lock()
		defer p.outbox.mu.Unlock()
		s := p.outbox.session
		return s != nil && len(s.dirty) == 0 && s.pending == 0 && s.inFlight == 0
	})
	return p
}

// end ends the process, which writes its record.
func (p *process) end() {
	p.stop()
	<-p.ended
}

// kill ends the process without a further write.
func (p *process) kill() {
	p.isDead.Store(true)
	p.end()
}

// eventually waits for a condition.
func (s *system) eventually(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not reached: %s; the receiver has %q", what, s.receiver.has())
		}
	}
}

// received waits until the receiver has accepted these decisions, in the order of each object.
// Events that it got more than once count once.
func (s *system) received(want ...string) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("the receiver has %q", want), func() bool { return len(s.receiver.has()) >= len(want) })
	if d := cmp.Diff(byObject(want), byObject(s.receiver.has())); d != "" {
		s.t.Errorf("decisions that the receiver has (-want +got):\n%s", d)
	}
}

// byObject sorts decisions by their object, and keeps their order for each object.
func byObject(decisions []string) []string {
	return slices.SortedStableFunc(slices.Values(decisions), func(a, b string) int {
		nameOfA, _, _ := strings.Cut(a, " ")
		nameOfB, _, _ := strings.Cut(b, " ")
		return strings.Compare(nameOfA, nameOfB)
	})
}

// closed is the answer of a receiver that has closed the connection.
const closed = -1

// receiver accepts events. A test changes how it answers.
type receiver struct {
	url     string
	arrived func()

	mu sync.Mutex
	// answer returns the status of an answer, or 0 to accept.
	answer func(w http.ResponseWriter, r *http.Request, e *event.Event) int
	ids    map[string]bool
	events []event.Event
	// decisions are those of the events, as "object decision group".
	decisions []string
	// requests counts requests, with those that were not accepted.
	requests   int
	signatures []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{arrived: func() {}, ids: map[string]bool{}}
	server := httptest.NewServer(r)
	r.url = server.URL + "/T0K3N-hook"
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	e := event.New()
	if err := e.UnmarshalJSON(body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.requests++
	r.signatures = append(r.signatures, request.Header.Get(webhook.HeaderSignature))
	answer := r.answer
	r.mu.Unlock()
	r.arrived()
	if answer != nil {
		if status := answer(w, request, &e); status != 0 {
			if status != closed {
				w.WriteHeader(status)
			}
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ids[e.ID()] {
		r.ids[e.ID()] = true
		r.events = append(r.events, e)
		data := dataOf(&e)
		r.decisions = append(r.decisions, strings.TrimSpace(data.Name+" "+data.Decision+" "+data.Group))
	}
}

// answers changes how the receiver answers.
func (r *receiver) answers(answer func(http.ResponseWriter, *http.Request, *event.Event) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) answersStatus(status int) {
	r.answers(func(http.ResponseWriter, *http.Request, *event.Event) int { return status })
}

func (r *receiver) requestCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// has returns the accepted decisions.
func (r *receiver) has() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.decisions)
}

func dataOf(e *event.Event) (data notification.Data) {
	_ = e.DataAs(&data)
	return data
}

// value returns the value of a metric.
func (p *process) value(name string, labels ...string) float64 {
	p.s.t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		p.s.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			matches := family.GetName() == name
			for _, l := range m.GetLabel() {
				matches = matches && slices.Contains(labels, l.GetValue())
			}
			if matches {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
