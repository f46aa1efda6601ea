// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// calm returns a story without steps after the approval. Its window is at night. Two devices fail
// at each attempt, which is below any threshold that a history sets, and one fails at first.
func calm() story {
	return story{
		targets: 12,
		spec: func(s *v1alpha1.RolloutSpec) {
			s.StabilizationSeconds = num(30)
			s.TargetSelector = &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": "field"}}
			s.GroupCount, s.SuccessThreshold, s.ErrorThreshold = num(3), num(100), num(80)
			s.State, s.ApprovalRequired, s.Update.Weight = v1alpha1.IntentRunning, true, nil
			nightly(s)
			s.Update.Retries = &v1alpha1.Retries{Limit: 1, BackoffSeconds: num(600)}
		},
		hours: opens(0),
		devices: map[string]deviceBehavior{
			"dev-01": {code: "17", times: 1}, "dev-02": {code: "17", times: 2}, "dev-07": {slow: 3}, "dev-10": {code: "flash", times: 2},
		},
		wantState: v1alpha1.RolloutFinished, wantGroups: "Finished Finished Finished",
	}
}

// history returns steps before the plan, while labels change, before the start, while the plan is
// not approved, and after the start. The last step of each part gives every history the same state:
// ten targets with the label field, and the same spec.
func history(random *rand.Rand, before, planning, after int, done func(*world)) []step {
	var steps []step
	for range before {
		steps = append(steps, step{"labels", always, func(w *world) { relabel(w, random) }})
	}
	steps = append(steps, step{"labels for the last time", always, func(w *world) {
		for name := range w.targets {
			label(w, name, name != "dev-04" && name != "dev-11")
		}
	}}, step{"waits", always, func(w *world) { w.tick(time.Minute) }})
	steps = append(steps, edits(random, planning, always, plans)...)
	steps = append(steps, step{"ends the planning", always, func(w *world) {
		w.edit(func(s *v1alpha1.RolloutSpec) { calm().spec(s) })
	}}, step{"approves", isPlanned, func(w *world) { w.approve(w.planHash()) }})
	steps = append(steps, edits(random, after, opens(0), changes)...)
	return append(steps, step{"ends the edits", opens(0), func(w *world) {
		end := epoch.Add(30 * 24 * time.Hour)
		w.now = later(w.now, end)
		w.edit(func(s *v1alpha1.RolloutSpec) { lastWord(s, end) })
		done(w)
	}})
}

// change is a single commit.
type change func(w *world, s *v1alpha1.RolloutSpec, random *rand.Rand)

// edits returns n commits, chosen from some.
func edits(random *rand.Rand, n int, when func(*world) bool, some []change) []step {
	var steps []step
	for range n {
		do := some[random.IntN(len(some))]
		steps = append(steps, step{"edits", when, func(w *world) {
			w.edit(func(s *v1alpha1.RolloutSpec) { do(w, s, random) })
		}})
	}
	return steps
}

// plans are commits to a rollout that has not started. None of them starts it: the commit with an
// approval also edits the approved spec.
var plans = []change{
	func(_ *world, s *v1alpha1.RolloutSpec, random *rand.Rand) { s.GroupCount = num(1 + random.Int32N(4)) },
	func(_ *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) { s.Update.MaintenanceWindow = nil },
	func(_ *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) { nightly(s) },
	func(_ *world, s *v1alpha1.RolloutSpec, random *rand.Rand) {
		s.Update.Retries = &v1alpha1.Retries{Limit: 1 + random.Int32N(5), BackoffSeconds: num(60)}
	},
	func(_ *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) { s.State = v1alpha1.IntentPlanned },
	func(w *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) {
		s.Approval = &v1alpha1.Approval{PlanHash: w.planHash()}
		s.Update.Weight = num(int32(w.rollout.Generation)) // a value that it never had
	},
}

// lastWord sets the spec at the end of every history. Its resumedAt is after all pauses.
func lastWord(s *v1alpha1.RolloutSpec, at time.Time) {
	calm().spec(s)
	resumedAt := metav1.NewTime(at)
	s.ResumedAt, s.Advance, s.SuccessAction, s.MinimumReports = &resumedAt, nil, "", 0
}

// changes are single commits to a rollout that has started.
var changes = []change{
	func(_ *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) { s.State = v1alpha1.IntentPaused },
	func(_ *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) { s.State = v1alpha1.IntentRunning },
	func(w *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) {
		now := metav1.NewTime(w.now)
		s.ResumedAt = &now
	},
	func(w *world, s *v1alpha1.RolloutSpec, random *rand.Rand) {
		s.Advance = &v1alpha1.Advance{To: fmt.Sprintf("group-%d", 2+random.IntN(2)), At: metav1.NewTime(w.now)}
	},
	func(_ *world, s *v1alpha1.RolloutSpec, random *rand.Rand) {
		s.SuccessThreshold = num(random.Int32N(101))
	},
	func(_ *world, s *v1alpha1.RolloutSpec, random *rand.Rand) {
		s.ErrorThreshold = num(50 + random.Int32N(51))
	},
	func(_ *world, s *v1alpha1.RolloutSpec, random *rand.Rand) { s.MinimumReports = 1 + random.Int32N(3) },
	func(_ *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) { s.SuccessAction = v1alpha1.SuccessActionPause },
	func(_ *world, s *v1alpha1.RolloutSpec, _ *rand.Rand) { s.SuccessAction = "" },
	func(w *world, _ *v1alpha1.RolloutSpec, random *rand.Rand) {
		w.tick(time.Duration(random.IntN(20)) * time.Hour)
	}, // a night may pass
}

func relabel(w *world, random *rand.Rand) {
	for _, t := range w.population() {
		if random.IntN(3) == 0 {
			label(w, t.Name, random.IntN(2) == 0)
		}
	}
}

// label sets the label of a target to field or lab.
func label(w *world, name string, field bool) {
	ring, changed := "lab", metav1.NewMicroTime(w.now)
	if field {
		ring = "field"
	}
	t := w.targets[name]
	if t.Labels["ring"] != ring {
		t.Labels, t.Status.SelectionChangedAt = map[string]string{"ring": ring}, &changed
	}
}

// normalised returns a status without times and without handled requests.
func normalised(t testing.TB, s v1alpha1.RolloutStatus) any {
	t.Helper()
	s.Handled, s.Groups = nil, slices.Clone(s.Groups)
	for i := range s.Groups {
		s.Groups[i].CountedFailures = 0 // it depends on the last resume
	}
	return timeless(stored[any](t, json.RawMessage(mustJSON(t, s))))
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func timeless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if strings.HasSuffix(key, "At") || slices.Contains([]string{"lastTransitionTime", "observedGeneration", "firstSeen", "lastSeen"}, key) {
				delete(v, key)
				continue
			}
			v[key] = timeless(inner)
		}
	case []any:
		for i := range v {
			v[i] = timeless(v[i])
		}
	}
	return v
}

// TestEveryHistoryOfOneSpecEndsAlike: with the same fleet and the same spec at the end, the status
// is the same, independent of earlier edits and crashes.
func TestEveryHistoryOfOneSpecEndsAlike(t *testing.T) {
	var end *world
	play := func(t *testing.T, seed uint64, before, planning, after int, crashes bool) (any, []string) {
		random := rand.New(rand.NewPCG(seed, 16))
		s := calm()
		s.person = history(random, before, planning, after, func(w *world) { end = w })
		log := s.play(t, random, crashes)
		return normalised(t, end.rollout.Status), log
	}
	want, _ := play(t, 0, 0, 0, 0, false)
	spec := end.rollout.Spec
	happened := map[string]int{}
	for seed := range uint64(*seeds) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			got, log := play(t, seed, 6, 6, 12, seed%2 == 1)
			if diff := cmp.Diff(spec, end.rollout.Spec); diff != "" {
				t.Errorf("the specs differ:\n%s", diff)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-calm +this history:\n%s\n%s", diff, strings.Join(log, "\n"))
			}
			for _, line := range log {
				if _, event, ok := strings.Cut(line, " Normal "); ok {
					reason, _, _ := strings.Cut(event, ":")
					happened[reason]++
				}
			}
		})
	}
	for _, reason := range []string{EventPaused, EventResumed, EventAdvanced, EventPlanned, EventPlanChanged} {
		if happened[reason] == 0 {
			t.Errorf("no history had the event %s: %v", reason, happened)
		}
	}
}
