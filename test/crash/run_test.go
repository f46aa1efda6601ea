// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// Scenario is a sequence of commits and steps of devices. Its writes are counted, and faults are
// injected, after prepare.
type Scenario struct {
	prepare, act func(*run)
	// oneIn says that with GOSHAWK_CRASH=many one of so many faults is run.
	oneIn int
}

// run is one run of a scenario.
type run struct {
	*world.World
	wire    *line
	devices *devices
	truth   *truth

	config    *rest.Config
	deviceAPI atomic.Value // string
	processes sync.WaitGroup
	// stop ends the running process.
	mu     sync.Mutex
	stop   func() error
	ending bool
}

// result is the end of a run.
type result struct {
	state  string
	writes []string
	took   time.Duration
}

// runScenario runs a scenario with a fault, checks the invariants, and waits for the expected end
// (L1). A run without a fault ends when there were no writes for a long time.
func runScenario(t *testing.T, s Scenario, f Fault, want string) (got result, hit bool) {
	t.Helper()
	config, c := cluster.Start(t)
	r := &run{World: &world.World{T: t, Client: c, Namespace: cluster.Namespace(t)}, config: config}
	r.wire = &line{namespace: r.Namespace}
	r.devices = newDevices(t, r.Namespace, func() string { return r.deviceAPI.Load().(string) })
	r.addOdd()
	r.truth = follow(t, config, r.Namespace)
	r.startProcess()
	defer r.end()
	s.prepare(r)
	r.waitUntilQuiet(shortRest)
	r.wire.arm(f)
	started := time.Now()
	s.act(r)
	took := time.Since(started)
	if f.Kind == None {
		r.waitUntilQuiet(longRest)
		r.restartWritesNothing()
	} else {
		r.waitForEnd(want)
		r.waitUntilQuiet(shortRest)
	}
	got = result{state: r.state(), writes: r.wire.writes(), took: took}
	for _, problem := range slices.Concat(r.truth.problems(r.devices.given), r.wire.offences, complaints.of(r.Namespace)) {
		t.Error(problem)
	}
	return got, r.wire.wasHit()
}

// endsWithin is the maximum time of a run with a fault from its last step to its end: on a busy
// machine counts are written late.
const endsWithin = 2 * time.Minute

// waitForEnd waits until the state is want, and compares again after each write. It does not fail
// the test: the caller compares the states.
func (r *run) waitForEnd(want string) {
	r.T.Helper()
	seen := -1
	for deadline := time.Now().Add(endsWithin); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if n := len(r.wire.writes()); n != seen {
			if r.state() == want {
				return
			}
			seen = n
		}
	}
}

// startProcess starts a process, and another one when it ends.
func (r *run) startProcess() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending {
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.T.Errorf("open a device API: %v", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &process{line: r.wire, ended: ctx.Done()}
	var once sync.Once
	l.end = func() {
		once.Do(func() {
			cancel()
			_ = listener.Close() // an ended process accepts no connections
			r.processes.Go(r.startProcess)
		})
	}
	config := rest.CopyConfig(r.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { l.next = next; return l })
	backend := kube.Options{PollInterval: time.Second, ProgressInterval: time.Minute}
	deviceAPI, stop, err := world.Start(ctx, manager.Options{DeviceAPIListener: listener, Backend: backend}, func(ctx context.Context, o manager.Options) error {
		o.Namespace = r.Namespace // each run has its own lease and invalidation record
		err := manager.Run(ctx, config, o)
		if err != nil && ctx.Err() == nil {
			r.T.Errorf("a process ended by itself: %v", err)
		}
		return err
	})
	if err != nil {
		r.T.Errorf("start a process: %v", err)
		return
	}
	if before := r.stop; before != nil {
		r.processes.Go(func() { _ = before() }) // the error of an ended process does not matter
	}
	r.stop = stop
	r.deviceAPI.Store(deviceAPI)
}

// end ends the last process without a fault.
func (r *run) end() {
	r.mu.Lock()
	r.ending = true
	r.mu.Unlock()
	if err := r.stop(); err != nil {
		r.T.Errorf("the process ended: %v", err)
	}
	r.processes.Wait()
}

// Counts are written after a second, and after up to ten if writes are slow. The run without a
// fault, with which the others are compared, waits for all of them.
const (
	shortRest = 1100 * time.Millisecond
	longRest  = 11 * time.Second
)

// waitUntilQuiet waits until there were no writes for the given time (L1), and fails the test if
// that takes too long.
func (r *run) waitUntilQuiet(enough time.Duration) {
	r.T.Helper()
	r.wire.touch()
	deadline := time.Now().Add(patience)
	for wait := enough; wait > 0; wait = enough - r.wire.quietFor() {
		if time.Now().After(deadline) {
			r.T.Fatalf("L1: after %s it still writes: %s", patience, strings.Join(lastOf(r.wire.writes(), 10), ", "))
		}
		time.Sleep(wait)
	}
}

func lastOf(list []string, n int) []string { return list[max(0, len(list)-n):] }

// restartWritesNothing starts another process after the end, and fails the test if it writes.
func (r *run) restartWritesNothing() {
	before := len(r.wire.writes())
	if err := r.stop(); err != nil {
		r.T.Errorf("the process ended: %v", err)
	}
	r.stop = nil
	r.startProcess()
	r.devices.poll("dev-0")
	r.waitUntilQuiet(longRest)
	if more := r.wire.since(before); len(more) > 0 {
		r.T.Errorf("L1: a new process after the end writes\n%s", strings.Join(more, "\n"))
	}
}

// slack is the number of writes of one object that a fault may add, not counting refused ones (L2):
// the repeated write, a count in between, and changes of order after a restart.
const slack = 3

// overdone returns the objects that were written more often than without a fault plus slack. Counts
// are written at most once a second, so a longer run has more writes of counts.
func overdone(free, now result) []string {
	usual, got := tally(free.writes), tally(now.writes)
	var out []string
	for what, n := range got {
		allowed := usual[what] + slack + int(now.took.Seconds())
		if strings.HasPrefix(what, "POST ") {
			allowed = max(usual[what], 1)
		}
		if n > allowed {
			out = append(out, fmt.Sprintf("L2: %s was stored %d times, without a fault %d times", what, n, usual[what]))
		}
	}
	slices.Sort(out)
	return out
}

func tally(writes []string) map[string]int {
	n := map[string]int{}
	for _, w := range writes {
		what, _, _ := strings.Cut(w, " #")
		n[what]++
	}
	return n
}

// sparse says how much of the faults is run, by the value of GOSHAWK_CRASH: 0 is every fault, 1 is
// one in oneIn, and n is an n-th of these.
var sparse = map[string]int{"every": 0, "many": 1, "": 3}

// density is the value of GOSHAWK_CRASH.
var density = os.Getenv("GOSHAWK_CRASH")

// isChosen reports whether a fault is run. One in three means each kind at every third write, and
// at each write every third kind.
func (s Scenario) isChosen(write, kind int) bool {
	oneIn := s.oneIn * sparse[density]
	return oneIn == 0 || (write+kind)%oneIn == 0
}

// testFaults runs a scenario without a fault, and then with each fault at each of its writes.
func testFaults(t *testing.T, s Scenario) {
	t.Parallel()
	free, _ := runScenario(t, s, Fault{Kind: None}, "")
	t.Logf("%d writes without a fault:\n%s", len(free.writes), strings.Join(free.writes, "\n"))
	if t.Failed() {
		return
	}
	var missed missedFaults
	t.Cleanup(func() { missed.report(t, len(free.writes)*len(kinds)) })
	for i, at := range free.writes {
		for j, kind := range kinds {
			f := Fault{Kind: kind, At: at, GatewayTimeout: i%2 == 1}
			if !s.isChosen(i, j) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%02d", kind, i+1), func(t *testing.T) {
				t.Parallel()
				now, hit := runScenario(t, s, f, free.state)
				missed.note(f, hit)
				if diff := cmp.Diff(free.state, now.state); diff != "" {
					t.Errorf("%s at %s leads to another end (-without fault +with fault):\n%s", f.Kind, f.At, diff)
				}
				for _, problem := range overdone(free, now) {
					t.Error(problem)
				}
				if t.Failed() {
					t.Logf("%s at %s; its writes were:\n%s", f.Kind, f.At, strings.Join(now.writes, "\n"))
				}
			})
		}
	}
}

// missedFaults has the faults whose write did not happen, because counts were written together.
type missedFaults struct {
	mu     sync.Mutex
	ran    int
	missed []string
}

func (m *missedFaults) note(f Fault, hit bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ran++
	if !hit {
		m.missed = append(m.missed, fmt.Sprintf("%s at %s", f.Kind, f.At))
	}
}

func (m *missedFaults) report(t *testing.T, possible int) {
	t.Logf("ran %d of %d faults (GOSHAWK_CRASH=every runs all); %d did not happen in this run: %s", m.ran, possible, len(m.missed), strings.Join(m.missed, ", "))
	if len(m.missed) > max(2, m.ran/5) {
		t.Error("more than a fifth of the faults never happened: the scenario is not the same from run to run")
	}
}
