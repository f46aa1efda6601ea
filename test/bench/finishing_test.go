// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/world"
)

const (
	// steps is the number of reports with the progress of an installation.
	steps = 5
	// reports is the number of all reports of a device: download, downloaded, the steps, result.
	reports = steps + 3
	// writers is the number of parallel writes of the bare patches: with more of them the API
	// server ends slow watches on two cores.
	writers = 8
	// bareSample is the maximum number of targets that barePatchRate patches.
	bareSample = 2000
	// stuckAfter is the time without any result after which a rollout is stuck.
	stuckAfter = 2 * time.Minute
)

// BenchmarkDevicesFinishing runs a whole rollout over the fleet. Each device reports a start, five
// steps and a result. It fails unless every result is in its Target once, and in the counts of the
// rollout.
//
// writes/target are all writes of Goshawk for the rollout, target-writes/target those of Targets.
// Goal: at most 2.02 writes a target with one process that serves devices, and 2.1 with several.
// Two replicas cannot reach 2.1 if the modules do not declare `rollback: Supported`: see
// docs/decisions/evidence-is-stored-at-once.md. The requests of each device go to both replicas in
// turn, which is the worst case.
//
// devices/s is compared with half the rate at which the bare API server patches the same objects
// with as much in each patch, in the same run. Goal: a ratio of 0.97. It is the rate of the middle
// four fifths of the devices: at both ends most devices wait for their next poll.
func BenchmarkDevicesFinishing(b *testing.B) {
	for _, c := range []finishing{
		{name: "one process", goal: 2.02},
		{name: "two replicas with rollback", replicas: 2, rollback: true, goal: 2.1},
		{name: "two replicas without rollback", replicas: 2, goal: 2.1, why: ", which the evidence of an installation exceeds (docs/decisions/evidence-is-stored-at-once.md)"},
	} {
		b.Run(c.name, func(b *testing.B) {
			w, names := fleet(b)
			for range b.N {
				c.run(b, w, names)
			}
		})
	}
}

// finishing is a rollout to the whole fleet.
type finishing struct {
	name     string
	replicas int  // of the device API; 0 means the process that also has the controllers
	rollback bool // the modules of the set declare rollback: Supported
	goal     float64
	why      string // the goal is not reached
}

var rollouts atomic.Int32

func (c finishing) run(b *testing.B, w *world.World, names []string) {
	b.Helper()
	name := fmt.Sprintf("finishing-%d", rollouts.Add(1))
	w.Set(name, "1."+strconv.Itoa(int(rollouts.Load())))
	if c.rollback {
		w.Commit(&v1alpha1.SoftwareModule{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {rollback: Supported}")
	}
	rollout(w, name, names, "state: Planned")
	transport, stopReplicas := c.serve(b, w)
	devices, recorder, stop := devices(w, names, steps, transport)
	waitUntilQuiet(w) // until every device has polled, which registers it
	before := shared.writes.read()
	w.Commit(&v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: name}}, "spec: {state: Running}")
	waitForResults(b, devices, int64(len(names)))
	r := w.EventuallyRollout(name, "finishes", world.InState(v1alpha1.RolloutFinished))
	stop()
	if c.replicas > 1 {
		time.Sleep(progressInterval) // reports that a replica has buffered are written after this time
	}
	waitUntilQuiet(w)
	stopReplicas()
	writes, sum := shared.writes.since(before)
	for _, fault := range faults(r, targetsOf(b, w), recorder.Events(), c.replicas > 1) {
		b.Error(fault)
	}
	rate, bare := middleRate(recorder.Of(devicesim.Closed)), barePatchRate(b, w, names)
	perTarget := float64(sum) / float64(len(names))
	b.Logf("%.2f writes a target, goal %.2f%s; writes %s", perTarget, c.goal, c.why, show(writes))
	b.ReportMetric(bare, "bare-patches/s")
	b.ReportMetric(rate, "devices/s")
	b.ReportMetric(rate/(bare/2), "ratio-of-half-bare")
	b.ReportMetric(perTarget, "writes/target")
	b.ReportMetric(c.goal, "goal-writes/target")
	b.ReportMetric(float64(writes["PATCH targets/status"])/float64(len(names)), "target-writes/target")
}

// serve starts the replicas, and returns a transport that spreads requests over them, or nil for no
// replicas.
func (c finishing) serve(b *testing.B, w *world.World) (http.RoundTripper, func()) {
	b.Helper()
	var replicas inTurn
	var stops []func() error
	for range c.replicas {
		deviceAPI, stop, err := world.Start(context.Background(), manager.Options{DeviceAPI: true, Backend: backend(true)}, shared.run)
		if err != nil {
			b.Fatal(err)
		}
		stops = append(stops, stop)
		w.Eventually("a replica serves devices", func() string { return unready(deviceAPI, w) })
		u, err := url.Parse(deviceAPI)
		if err != nil {
			b.Fatal(err)
		}
		replicas.hosts = append(replicas.hosts, u.Host)
	}
	stopAll := sync.OnceFunc(func() {
		for _, stop := range stops {
			if err := stop(); err != nil {
				b.Errorf("a replica ended with %v", err)
			}
		}
	})
	b.Cleanup(stopAll)
	if len(stops) == 0 {
		return nil, stopAll
	}
	replicas.next = &http.Transport{MaxIdleConnsPerHost: concurrency, MaxConnsPerHost: concurrency}
	return &replicas, stopAll
}

// unready returns why a device gets no answer, or "".
func unready(deviceAPI string, w *world.World) string {
	request, err := http.NewRequestWithContext(w.T.Context(), http.MethodGet, deviceAPI+wire.RootPath(w.Namespace, shared.names[0]), nil)
	if err != nil {
		return err.Error()
	}
	request.Header.Set("Authorization", "TargetToken "+world.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return response.Status
	}
	return ""
}

// inTurn sends each request to the next replica.
type inTurn struct {
	hosts []string
	next  http.RoundTripper
	turn  atomic.Int64
}

func (t *inTurn) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host, r.URL.Host = r.URL.Host, t.hosts[int(t.turn.Add(1))%len(t.hosts)]
	return t.next.RoundTrip(r)
}

// waitForResults waits until n devices have reported a result.
func waitForResults(b *testing.B, devices *devicesim.Fleet, n int64) {
	b.Helper()
	last, since := int64(0), time.Now()
	for {
		stats := devices.Stats()
		results := stats.Succeeded + stats.Failed
		switch {
		case results >= n:
			return
		case results > last:
			last, since = results, time.Now()
		case time.Since(since) > stuckAfter:
			b.Fatalf("%d of %d devices have reported a result, and none did for %s; the last error is %q", results, n, stuckAfter, stats.LastError)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// targetsOf returns all targets from the API server, by name.
func targetsOf(b *testing.B, w *world.World) map[string]*v1alpha1.Target {
	b.Helper()
	targets := map[string]*v1alpha1.Target{}
	list := v1alpha1.TargetList{}
	for {
		if err := w.Client.List(b.Context(), &list, client.InNamespace(w.Namespace), client.Limit(500), client.Continue(list.Continue)); err != nil {
			b.Fatal(err)
		}
		for i := range list.Items {
			targets[list.Items[i].Name] = &list.Items[i]
		}
		if list.Continue == "" {
			return targets
		}
		list = v1alpha1.TargetList{ListMeta: metav1.ListMeta{Continue: list.Continue}}
	}
}

// maxFaults is the maximum number of faults that are printed.
const maxFaults = 10

// faults returns what is lost or stored twice: every device must have started one action and closed
// it, its Target must have this action with all its reports and the installed set, and the rollout
// must count it as succeeded. With replicas, reports that one of them has buffered when the other
// one gets the result are not stored.
func faults(r *v1alpha1.Rollout, targets map[string]*v1alpha1.Target, events []devicesim.Event, replicated bool) []string {
	found := []string{}
	add := func(format string, values ...any) { found = append(found, fmt.Sprintf(format, values...)) }
	n := int32(len(targets))
	if r.Status.Targets == nil || *r.Status.Targets != (v1alpha1.Counts{Targets: n, Succeeded: n}) {
		add("the counts of rollout %s are %+v, want %d targets, all of them succeeded", r.Name, r.Status.Targets, n)
	}
	started, closed := map[string][]string{}, map[string][]string{}
	reported := map[string]int{}
	for _, e := range events {
		switch e.Kind {
		case devicesim.Started:
			started[e.Device] = append(started[e.Device], e.Action)
		case devicesim.Closed:
			closed[e.Device] = append(closed[e.Device], e.Action)
		case devicesim.Reported:
			reported[e.Device]++
		default:
		}
	}
	for name, t := range targets {
		if !slices.Equal(started[name], closed[name]) || len(closed[name]) != 1 || reported[name] != reports {
			add("device %s has started the actions %v, closed the actions %v, and sent %d reports", name, started[name], closed[name], reported[name])
			continue
		}
		actions := slices.DeleteFunc(slices.Clone(t.Status.Actions), func(a v1alpha1.Action) bool { return a.Source.Name != r.Name })
		if len(actions) != 1 || strconv.Itoa(int(actions[0].ID)) != closed[name][0] {
			add("target %s has the actions %s of rollout %s; its device has closed action %s", name, brief(actions), r.Name, closed[name][0])
			continue
		}
		a, installed := actions[0], t.Status.Installed
		if a.State != v1alpha1.ActionFinished || a.Stage != string(wire.ExecutionClosed) {
			add("target %s has the action %s; want Finished after the stage closed", name, brief(actions))
		}
		if a.Reports > reports || a.Reports < reports && !replicated || a.Reports == 0 {
			add("target %s has the action %s; its device has sent %d reports", name, brief(actions), reports)
		}
		if installed == nil || installed.ActionID != a.ID || installed.DistributionSet != a.DistributionSet {
			add("target %s has installed %+v; want the set %s by action %d", name, installed, a.DistributionSet, a.ID)
		}
	}
	slices.Sort(found)
	if extra := len(found) - maxFaults; extra > 0 {
		found = append(found[:maxFaults], fmt.Sprintf("and %d more", extra))
	}
	return found
}

func brief(actions []v1alpha1.Action) string {
	lines := make([]string, len(actions))
	for i, a := range actions {
		lines[i] = fmt.Sprintf("%d (%s, %d reports, stage %q)", a.ID, a.State, a.Reports, a.Stage)
	}
	return "[" + strings.Join(lines, ", ") + "]"
}

// middleRate returns the events per second between the first tenth and the last.
func middleRate(events []devicesim.Event) float64 {
	slices.SortFunc(events, func(a, b devicesim.Event) int { return a.At.Compare(b.At) })
	first, last := len(events)/10, len(events)*9/10
	return float64(last-first) / events[last].At.Sub(events[first].At).Seconds()
}

// barePatchRate patches the status of targets as Goshawk does, with the same actions in each patch,
// while only Goshawk's informer watches. It returns the patches per second.
func barePatchRate(b *testing.B, w *world.World, names []string) float64 {
	b.Helper()
	names = names[:min(len(names), bareSample)]
	patches := make(map[string][]byte, len(names))
	for _, name := range names {
		actions, err := json.Marshal(map[string]any{"status": map[string]any{"address": "bench", "actions": w.Target(name).Status.Actions}})
		if err != nil {
			b.Fatal(err)
		}
		patches[name] = actions
	}
	work := make(chan string)
	var failed atomic.Int32
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			for name := range work {
				t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.Namespace}}
				if err := w.Client.Status().Patch(b.Context(), t, client.RawPatch(types.MergePatchType, patches[name])); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	started := time.Now()
	for _, name := range names {
		work <- name
	}
	close(work)
	done.Wait()
	if n := failed.Load(); n > 0 {
		b.Fatalf("%d bare patches failed", n)
	}
	return float64(len(names)) / time.Since(started).Seconds()
}
