// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// PlanOutcome is what the targets of a rollout or an auto-assignment get in the end, if every
// rollout has started and opened all its groups, and no device starts anything meanwhile.
type PlanOutcome struct {
	// Gets is the number of targets that get the update.
	Gets int `json:"gets"`
	// AlreadyThere is the number of targets that have it already.
	AlreadyThere int `json:"alreadyThere,omitempty"`
	// Superseded is the number of targets that get a newer update instead.
	Superseded int `json:"superseded,omitempty"`
	// Held is the number of targets among Gets that start nothing, because spec.hold is true.
	Held int `json:"held,omitempty"`
	// Never is the number of other targets that never get it, by the code of the reason.
	Never []CodeCount `json:"never,omitempty"`
}

// CodeCount is a number of targets with the same reason.
type CodeCount struct {
	Code    string `json:"code"`
	Targets int    `json:"targets"`
}

// PlanOverlap is what two sources of updates share.
type PlanOverlap struct {
	Kind v1alpha1.SourceKind `json:"kind"`
	// Name of the other rollout or auto-assignment; empty for assignments of targets.
	Name   string `json:"name,omitempty"`
	Update string `json:"update,omitempty"`
	// Targets is the number of targets that both reach.
	Targets int `json:"targets"`
	// Wins is on how many of them only this one gets its update, Loses on how many only the other
	// one, and Both on how many both do, one after the other.
	Wins  int `json:"wins"`
	Loses int `json:"loses"`
	Both  int `json:"both,omitempty"`
	// Examples are the first names, of those that it loses if there are any.
	Examples []string `json:"examples,omitempty"`
}

// source identifies what an update comes from. All assignments of targets are one source.
type source struct {
	kind v1alpha1.SourceKind
	name string
}

// outcomes has the results of all sources.
type outcomes map[source]*result

type result struct {
	outcome  PlanOutcome
	never    map[string]int
	overlaps map[source]*PlanOverlap
	losses   map[source][]string
}

func (o outcomes) of(s source) (*PlanOutcome, []PlanOverlap) {
	r := o[s]
	if r == nil {
		return nil, nil
	}
	out := r.outcome
	for _, code := range slices.Sorted(maps.Keys(r.never)) {
		out.Never = append(out.Never, CodeCount{code, r.never[code]})
	}
	var overlaps []PlanOverlap
	for other, overlap := range r.overlaps {
		if lost := r.losses[other]; len(lost) > 0 {
			overlap.Examples = lost
		}
		overlaps = append(overlaps, *overlap)
	}
	slices.SortFunc(overlaps, func(a, b PlanOverlap) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return &out, overlaps
}

// outcomes lets every rollout start and open all its groups, and counts, by the rule of offers,
// which updates each target gets.
func (s *simulation) outcomes() (outcomes, error) {
	targets := s.index.Targets(s.Namespace)
	x, at, err := s.opened(targets)
	if err != nil {
		return nil, err
	}
	parts := make([]outcomes, runtime.GOMAXPROCS(0))
	var wait sync.WaitGroup
	for i := range parts {
		from, to := len(targets)*i/len(parts), len(targets)*(i+1)/len(parts)
		wait.Go(func() {
			parts[i] = outcomes{}
			for _, t := range targets[from:to] {
				parts[i].add(x, t, at)
			}
		})
	}
	wait.Wait()
	all := parts[0]
	for _, part := range parts[1:] {
		all.merge(part)
	}
	return all, nil
}

// opened returns an index with these targets, in which every rollout has started, those that have
// not in the order in which they are expected to, and all groups are open; and a time after that.
func (s *simulation) opened(targets []*v1alpha1.Target) (*fleet.Index, time.Time, error) {
	objects := []client.Object{}
	for _, t := range targets {
		objects = append(objects, t)
		if i := s.index.InventoryObject(client.ObjectKeyFromObject(t)); i != nil {
			objects = append(objects, i)
		}
	}
	objects = append(objects, s.content...)
	last := s.Now.Add(horizon)
	waiting := []*v1alpha1.Rollout{}
	rollouts := s.index.Rollouts(s.Namespace)
	for _, r := range rollouts {
		if r.Status.StartedAt != nil {
			last = latest(last, r.Status.StartedAt.Time)
		} else if r.Spec.StartAt != nil {
			last = latest(last, r.Spec.StartAt.Time)
		}
	}
	for _, r := range rollouts {
		if r.Status.Plan == nil || rollout.IsOver(r) || rollout.IsStopped(r) || !r.DeletionTimestamp.IsZero() || r.Unreadable != nil {
			continue
		}
		r = r.DeepCopy()
		r.Spec.State = v1alpha1.IntentRunning
		r.Status.State, r.Status.PauseReason, r.Status.PauseMessage = v1alpha1.RolloutRunning, "", ""
		if r.Status.StartedAt == nil {
			waiting = append(waiting, r)
		}
		objects = append(objects, r)
		for _, g := range s.index.GroupsOf(r) {
			objects = append(objects, g)
		}
	}
	slices.SortStableFunc(waiting, func(a, b *v1alpha1.Rollout) int {
		return cmp.Or(startOf(a, last).Compare(startOf(b, last)), cmp.Compare(a.Name, b.Name))
	})
	for i, r := range waiting {
		at := metav1.NewMicroTime(latest(startOf(r, last.Add(time.Second)), s.Now.Add(horizon)).Add(time.Duration(i) * time.Second))
		r.Status.StartedAt = &at
		last = latest(last, at.Time)
	}
	end := last.Add(2 * time.Minute)
	for _, o := range objects {
		if r, ok := o.(*v1alpha1.Rollout); ok {
			for i := range r.Status.Groups {
				if g := &r.Status.Groups[i]; g.OpenedAt == nil {
					at := metav1.NewTime(end)
					g.OpenedAt, g.State = &at, v1alpha1.GroupRunning
				}
			}
		}
	}
	for _, a := range s.index.AutoAssignments(s.Namespace) {
		if a.Status.State == v1alpha1.AutoAssignmentPaused {
			a = a.DeepCopy()
			a.Spec.State, a.Status.State = v1alpha1.AutoAssignmentIntentRunning, v1alpha1.AutoAssignmentRunning
		}
		objects = append(objects, a)
	}
	x, err := fleet.Of(objects)
	return x, end, err
}

// startOf returns when a rollout that waits is expected to start.
func startOf(r *v1alpha1.Rollout, otherwise time.Time) time.Time {
	if r.Spec.StartAt != nil {
		return r.Spec.StartAt.Time
	}
	return otherwise
}

// gets reports whether a target gets an update, now or later, and whether spec.hold keeps it.
func gets(v *offer.Verdict) (now, held bool) {
	switch v.Result.Code {
	case "", eligibility.CodeWindowClosed, eligibility.CodeAwaitingFeatures, eligibility.CodeRetrying, eligibility.CodeWaitingForStep:
		return true, false
	case eligibility.CodeHold:
		return true, true
	default:
		return false, false
	}
}

// add counts what one target gets.
func (o outcomes) add(x *fleet.Index, t *v1alpha1.Target, at time.Time) {
	verdicts := offer.Rank(x.World(t, at))
	for i := range verdicts {
		v := &verdicts[i]
		r := o.result(sourceFor(v))
		is, held := gets(v)
		switch v.Result.Code {
		case eligibility.CodeAlreadyThere, eligibility.CodeDone, eligibility.CodeAlreadyHad:
			r.outcome.AlreadyThere++
		case eligibility.CodeSuperseded:
			r.outcome.Superseded++
		default:
			switch {
			case is && held:
				r.outcome.Gets++
				r.outcome.Held++
			case is:
				r.outcome.Gets++
			default:
				r.never[string(v.Result.Code)]++
			}
		}
		for k := range verdicts {
			if k != i {
				r.overlap(t.Name, v, &verdicts[k])
			}
		}
	}
}

func sourceFor(v *offer.Verdict) source {
	if v.Intent.Source.Kind == v1alpha1.SourceTarget {
		return source{kind: v1alpha1.SourceTarget}
	}
	return source{v.Intent.Source.Kind, v.Intent.Source.Name}
}

func (o outcomes) result(s source) *result {
	r := o[s]
	if r == nil {
		r = &result{never: map[string]int{}, overlaps: map[source]*PlanOverlap{}, losses: map[source][]string{}}
		o[s] = r
	}
	return r
}

// maxExamples is how many names an overlap has.
const maxExamples = 3

func (r *result) overlap(name string, v, other *offer.Verdict) {
	s := sourceFor(other)
	o := r.overlaps[s]
	if o == nil {
		o = &PlanOverlap{Kind: s.kind, Name: s.name}
		if s.kind != v1alpha1.SourceTarget {
			o.Update = other.Intent.Update.Subject()
		}
		r.overlaps[s] = o
	}
	o.Targets++
	if len(o.Examples) < maxExamples {
		o.Examples = append(o.Examples, name)
	}
	mine, _ := gets(v)
	theirs, _ := gets(other)
	switch {
	case mine && theirs:
		o.Both++
	case mine:
		o.Wins++
	case theirs:
		o.Loses++
		if len(r.losses[s]) < maxExamples {
			r.losses[s] = append(r.losses[s], name)
		}
	}
}

// merge adds the results of other targets, which follow in the order of names.
func (o outcomes) merge(other outcomes) {
	for s, theirs := range other {
		mine := o.result(s)
		mine.outcome.Gets += theirs.outcome.Gets
		mine.outcome.AlreadyThere += theirs.outcome.AlreadyThere
		mine.outcome.Superseded += theirs.outcome.Superseded
		mine.outcome.Held += theirs.outcome.Held
		for code, n := range theirs.never {
			mine.never[code] += n
		}
		for k, t := range theirs.overlaps {
			m := mine.overlaps[k]
			if m == nil {
				mine.overlaps[k] = t
				continue
			}
			m.Targets, m.Wins, m.Loses, m.Both = m.Targets+t.Targets, m.Wins+t.Wins, m.Loses+t.Loses, m.Both+t.Both
			m.Examples = firstNames(m.Examples, t.Examples)
		}
		for k, names := range theirs.losses {
			mine.losses[k] = firstNames(mine.losses[k], names)
		}
	}
}

func firstNames(a, b []string) []string {
	all := slices.Concat(a, b)
	return all[:min(maxExamples, len(all))]
}
