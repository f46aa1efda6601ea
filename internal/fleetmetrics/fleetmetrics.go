// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fleetmetrics exports the state of rollouts, targets and stops as metrics. A Fleet follows
// the changes of the caches, so that a scrape causes no request to the API server, and its cost
// depends on the number of rollouts and not on the number of targets.
package fleetmetrics

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleetcounts"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// exportedAfterEnd is how long after its end a rollout still has its own series.
const exportedAfterEnd = time.Hour

// Collector exports the fleets of the process whose controllers run. If several processes exported
// them, sums would count each rollout several times.
type Collector struct {
	now func() time.Time

	mu     sync.Mutex
	fleets []*Fleet
}

// New returns a collector without fleets.
func New(now func() time.Time) *Collector { return &Collector{now: now} }

// Lead exports a fleet until end is called.
func (c *Collector) Lead(f *Fleet) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.lead(true)
	c.fleets = append(c.fleets, f)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		f.lead(false)
		c.fleets = slices.DeleteFunc(c.fleets, func(other *Fleet) bool { return other == f })
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range computed {
		descs <- d
	}
}

// computed are the descriptions of the metrics that are computed for each scrape.
var computed = []*prometheus.Desc{
	rolloutsDesc, groupsDesc, rolloutTargetsDesc, waitDesc, stalledDesc, targetsDesc, problemsDesc, pendingStopDesc,
}

var (
	rolloutsDesc       = rolloutsDefinition.Desc()
	groupsDesc         = groupsDefinition.Desc()
	rolloutTargetsDesc = rolloutTargetsDefinition.Desc()
	waitDesc           = waitDefinition.Desc()
	stalledDesc        = stalledDefinition.Desc()
	targetsDesc        = targetsDefinition.Desc()
	problemsDesc       = problemsDefinition.Desc()
	pendingStopDesc    = pendingStopDefinition.Desc()
)

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.fleets) == 0 {
		return
	}
	s := newScrape(c.now())
	for _, f := range c.fleets {
		s.add(f)
	}
	s.emit(out)
}

// scrape collects the values of all fleets for one scrape.
type scrape struct {
	now        time.Time
	rollouts   []*v1alpha1.Rollout
	namespaces map[string]*fleetcounts.Counts
	stops      map[string]time.Time // the oldest one of each kind
}

func newScrape(now time.Time) *scrape {
	return &scrape{now: now, namespaces: map[string]*fleetcounts.Counts{}, stops: map[string]time.Time{}}
}

func (s *scrape) add(f *Fleet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rollouts {
		s.rollouts = append(s.rollouts, r)
	}
	for _, name := range f.counts.Namespaces() {
		if s.namespaces[name] == nil {
			s.namespaces[name] = fleetcounts.NewCounts()
		}
		f.counts.AddTo(s.namespaces[name], name)
	}
	for key, since := range f.stops.pending {
		if oldest, ok := s.stops[key.kind]; !ok || since.Before(oldest) {
			s.stops[key.kind] = since
		}
	}
}

// emit sends the metrics. Values of a fixed list are sent also if they are 0.
func (s *scrape) emit(out chan<- prometheus.Metric) {
	for _, namespace := range s.ownNamespaces() {
		counts := s.namespaces[namespace]
		emitCounts(out, rolloutsDesc, rolloutStates, counts.Rollouts, namespace)
		emitCounts(out, targetsDesc, updateStatuses, counts.Targets.Statuses, namespace)
		for i, p := range problems {
			emit(out, problemsDesc, float64(counts.Targets.Problems[p]), namespace, problemLabels[i])
		}
		for stalled, n := range counts.Stalled {
			emit(out, stalledDesc, float64(n), namespace, stalled.Kind, stalled.Reason)
		}
	}
	for _, kind := range stopKind.Values {
		age := 0.0
		if since, ok := s.stops[kind]; ok {
			age = s.ageOf(since)
		}
		emit(out, pendingStopDesc, age, kind)
	}
	s.emitRollouts(out)
}

// ownNamespaces returns the namespaces with their own series, and sums the others.
func (s *scrape) ownNamespaces() []string {
	all := sortedKeys(s.namespaces)
	if len(all) <= maxNamespaces {
		return all
	}
	sum := fleetcounts.NewCounts()
	for _, name := range all[maxNamespaces:] {
		sum.Add(s.namespaces[name])
	}
	s.namespaces[Others] = sum
	return append(all[:maxNamespaces:maxNamespaces], Others)
}

// rolloutSeries are the values of one rollout, or the sum of several.
type rolloutSeries struct {
	groups, targets map[string]int
	waits           map[string]float64
}

func (s *scrape) emitRollouts(out chan<- prometheus.Metric) {
	exported := slices.DeleteFunc(s.rollouts, func(r *v1alpha1.Rollout) bool {
		return rollout.IsOver(r) && r.Status.FinishedAt != nil && s.now.Sub(r.Status.FinishedAt.Time) > exportedAfterEnd
	})
	slices.SortFunc(exported, byImportance)
	own := exported[:min(len(exported), maxRollouts)]
	for _, r := range own {
		s.seriesOf(r).emit(out, r.Namespace, r.Name)
	}
	if len(exported) > len(own) {
		s.seriesOf(exported[len(own):]...).emit(out, Others, Others)
	}
}

// byImportance orders rollouts: those that are not over first, then the newest first, then by name.
func byImportance(a, b *v1alpha1.Rollout) int {
	if rollout.IsOver(a) != rollout.IsOver(b) {
		if rollout.IsOver(a) {
			return 1
		}
		return -1
	}
	return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func (s *scrape) seriesOf(rollouts ...*v1alpha1.Rollout) *rolloutSeries {
	series := &rolloutSeries{groups: map[string]int{}, targets: map[string]int{}, waits: map[string]float64{}}
	for _, r := range rollouts {
		for i := range r.Status.Groups {
			series.groups[string(r.Status.Groups[i].State)]++
		}
		if c := r.Status.Targets; c != nil {
			for i, n := range []int32{c.Scheduled, c.Pending, c.InProgress, c.Succeeded, c.Failed, c.Canceled, c.Skipped, c.Removed} {
				series.targets[buckets[i]] += int(n)
			}
		}
		if w := r.Status.WaitingFor; w != nil {
			series.waits[w.Reason] = max(series.waits[w.Reason], s.ageOf(rollout.WaitingSince(r)))
		}
	}
	return series
}

func (r *rolloutSeries) emit(out chan<- prometheus.Metric, namespace, name string) {
	emitCounts(out, groupsDesc, groupStates, r.groups, namespace, name)
	emitCounts(out, rolloutTargetsDesc, buckets, r.targets, namespace, name)
	for reason, age := range r.waits {
		emit(out, waitDesc, age, namespace, name, reason)
	}
}

// ageOf returns the seconds since a time, 0 if the clock of the process that wrote it is ahead.
func (s *scrape) ageOf(since time.Time) float64 { return max(0, s.now.Sub(since).Seconds()) }

func emit(out chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

// emitCounts sends a metric for each value of its last label.
func emitCounts[K ~string](out chan<- prometheus.Metric, desc *prometheus.Desc, values []string, counts map[K]int, labels ...string) {
	for _, value := range values {
		emit(out, desc, float64(counts[K(value)]), append(slices.Clip(labels), value)...)
	}
}

// objectKey identifies an object.
type objectKey struct {
	kind string
	uid  types.UID
}

const (
	kindSet     = "DistributionSet"
	kindRollout = "Rollout"
)
