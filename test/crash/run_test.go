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

// Scenario is a piece of a fleet's life. Its writes are counted, and disturbed, from the end of
// prepare on.
type Scenario struct {
	prepare, act func(*run)
	// oneIn is how many of its faults there are to one that is told, unless all are.
	oneIn int
}

// run is one telling of a scenario.
type run struct {
	*world.World
	wire    *line
	devices *devices
	truth   *truth

	config    *rest.Config
	deviceAPI atomic.Value // string
	lives     sync.WaitGroup
	// stop ends the life that is going on.
	mu     sync.Mutex
	stop   func() error
	ending bool
}

// result is what a run comes to.
type result struct {
	state  string
	writes []string
	took   time.Duration
}

// tell runs a scenario with a fault, holds it against the invariants, and waits for the end that it
// should come to (L1). An undisturbed run ends when it has been quiet for long.
func tell(t *testing.T, s Scenario, f Fault, want string) (got result, hit bool) {
	t.Helper()
	config, c := cluster.Start(t)
	r := &run{World: &world.World{T: t, Client: c, Namespace: cluster.Namespace(t)}, config: config}
	r.wire = &line{namespace: r.Namespace}
	r.devices = newDevices(t, r.Namespace, func() string { return r.deviceAPI.Load().(string) })
	r.addOdd()
	r.truth = follow(t, config, r.Namespace)
	r.live()
	defer r.end()
	s.prepare(r)
	r.rest(shortRest)
	r.wire.arm(f)
	started := time.Now()
	s.act(r)
	took := time.Since(started)
	if f.Kind == None {
		r.rest(longRest)
		r.wakeAgain()
	} else {
		r.comesTo(want)
		r.rest(shortRest)
	}
	got = result{state: r.state(), writes: r.wire.writes(), took: took}
	for _, problem := range slices.Concat(r.truth.problems(r.devices.given), r.wire.offences, complaints.of(r.Namespace)) {
		t.Error(problem)
	}
	return got, r.wire.wasHit()
}

// endsWithin is how long a disturbed run may take from its last step to its end: counts may rest
// for a while on a busy machine.
const endsWithin = 30 * time.Second

// comesTo waits for an end, and looks again when something has been written. What another end looks
// like the caller shows.
func (r *run) comesTo(want string) {
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

// live starts a process, and another one when it dies.
func (r *run) live() {
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
	l := &life{line: r.wire, dead: ctx.Done()}
	var once sync.Once
	l.die = func() {
		once.Do(func() {
			cancel()
			_ = listener.Close() // what is dead answers nobody
			r.lives.Go(r.live)
		})
	}
	config := rest.CopyConfig(r.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { l.next = next; return l })
	backend := kube.Options{PollInterval: time.Second, ProgressInterval: time.Minute}
	deviceAPI, stop, err := world.Start(ctx, manager.Options{DeviceAPIListener: listener, Backend: backend}, func(ctx context.Context, o manager.Options) error {
		o.Namespace = r.Namespace // invalidation record, too, belong to the run alone
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
		r.lives.Go(func() { _ = before() }) // what a dying process says is of no interest
	}
	r.stop = stop
	r.deviceAPI.Store(deviceAPI)
}

// end lets the last process go in peace.
func (r *run) end() {
	r.mu.Lock()
	r.ending = true
	r.mu.Unlock()
	if err := r.stop(); err != nil {
		r.T.Errorf("the process ended: %v", err)
	}
	r.lives.Wait()
}

// Counts wait for a second before they are written, and longer where writes take long. An
// undisturbed run, which the others are held against, waits for all.
const (
	shortRest = 1100 * time.Millisecond
	longRest  = 5 * time.Second
)

// rest waits until nothing has been written for a while (L1). What never comes to rest fails.
func (r *run) rest(enough time.Duration) {
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

// wakeAgain starts another process over what has settled: it has nothing to write.
func (r *run) wakeAgain() {
	before := len(r.wire.writes())
	if err := r.stop(); err != nil {
		r.T.Errorf("the process ended: %v", err)
	}
	r.stop = nil
	r.live()
	r.devices.poll("dev-0")
	r.rest(longRest)
	if more := r.wire.since(before); len(more) > 0 {
		r.T.Errorf("L1: a new process over a settled world writes\n%s", strings.Join(more, "\n"))
	}
}

// slack is how many writes of one object a fault may add, beside those that were refused and so not
// stored (L2): the repeated one, a count that came between, and what a restart shows in another
// order.
const slack = 3

// overdone are the objects that were written more often than undisturbed plus a little. Counts are
// written at most once a second: the longer a run takes, the less of them is gathered.
func overdone(free, now result) []string {
	usual, got := tally(free.writes), tally(now.writes)
	var out []string
	for what, n := range got {
		allowed := usual[what] + slack + int(now.took.Seconds())
		if strings.HasPrefix(what, "POST ") {
			allowed = max(usual[what], 1)
		}
		if n > allowed {
			out = append(out, fmt.Sprintf("L2: %s was stored %d times, undisturbed %d times", what, n, usual[what]))
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

// every fault is told if GOSHAWK_CRASH says so, else one in so many: one in three means of each
// kind every third write, and of each write every third kind.
var every = os.Getenv("GOSHAWK_CRASH") == "every"

func (s Scenario) isChosen(write, kind int) bool { return every || (write+kind)%s.oneIn == 0 }

// survives tells a scenario undisturbed, and then with each fault at each of its writes.
func survives(t *testing.T, s Scenario) {
	t.Parallel()
	free, _ := tell(t, s, Fault{Kind: None}, "")
	t.Logf("%d writes undisturbed:\n%s", len(free.writes), strings.Join(free.writes, "\n"))
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
				now, hit := tell(t, s, f, free.state)
				missed.note(f, hit)
				if diff := cmp.Diff(free.state, now.state); diff != "" {
					t.Errorf("%s at %s leads to another end (-undisturbed +now):\n%s", f.Kind, f.At, diff)
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

// missedFaults are those whose write did not come: counts that were gathered into fewer writes this
// time.
type missedFaults struct {
	mu     sync.Mutex
	told   int
	missed []string
}

func (m *missedFaults) note(f Fault, hit bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told++
	if !hit {
		m.missed = append(m.missed, fmt.Sprintf("%s at %s", f.Kind, f.At))
	}
}

func (m *missedFaults) report(t *testing.T, possible int) {
	t.Logf("told %d of %d faults (GOSHAWK_CRASH=every tells all); %d found no such write this time: %s", m.told, possible, len(m.missed), strings.Join(m.missed, ", "))
	if 5*len(m.missed) > m.told {
		t.Error("more than a fifth of the faults never happened: the scenario is not the same from run to run")
	}
}
