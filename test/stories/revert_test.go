// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// apply applies manifests with one of kubectl's commands, and returns the error of the API server.
// `kubectl replace` reads the resourceVersion and writes with it: a status that Goshawk writes in
// between makes it fail with a conflict, and a user runs it again. So does apply.
func apply(w *world.World, manifests, way string) error {
	w.T.Helper()
	arguments := append(append([]string{"-n", w.Namespace}, strings.Fields(way)...), "-f", "-")
	for attempt := 1; ; attempt++ {
		_, err := cluster.TryKubectl(w.T, manifests, arguments...)
		if err == nil || way != "replace" || attempt == 10 || !strings.Contains(err.Error(), "Error from server (Conflict)") {
			return err
		}
	}
}

// manifest returns a manifest of one of Goshawk's kinds.
func manifest(kind, name, spec string) string {
	return fmt.Sprintf("apiVersion: goshawk.dev/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: {%s}\n---\n", kind, name, spec)
}

// Every operation of docs/operations.md is committed, carried out and reverted: the older manifest
// is applied again, with each of kubectl's commands, and never refused.
func TestNoRevertIsRefused(t *testing.T) {
	t.Parallel()
	for name, verb := range map[string]struct {
		kind           string
		before, commit string // of the spec, in addition to required fields
		silent         bool   // devices start and report nothing; otherwise the rollout has finished before the commit
		// done reports whether the commit was carried out.
		done func(w *world.World) bool
		// says is the reason of Ready after the revert, or "" if it is not checked.
		says string
	}{
		"start": {"Rollout", "state: Planned", "state: Running", true, started, ""},
		"pause": {"Rollout", "state: Running", "state: Paused", true, func(w *world.World) bool {
			return w.Rollout("object").Status.State == v1alpha1.RolloutPaused
		}, ""},
		"approve":                       {"Rollout", "approvalRequired: true", `approvalRequired: true, approval: {planHash: "sha256:` + strings.Repeat("0", 64) + `"}`, true, seen, ""},
		"resume at a time":              {"Rollout", "", `resumedAt: "2026-01-01T00:00:00Z"`, true, started, ""},
		"advance":                       {"Rollout", "groupCount: 2, successThreshold: 100", `groupCount: 2, successThreshold: 100, advance: {to: group-2, at: "2900-01-01T00:00:00Z"}`, true, started, ""},
		"retry":                         {"Rollout", "", `retry: {at: "2900-01-01T00:00:00Z"}`, true, started, ""},
		"looser conditions":             {"Rollout", "errorThreshold: 5", "errorThreshold: 50, dynamic: {}", true, started, ""},
		"reject a plan":                 {"Rollout", "state: Planned", "state: Stopped", true, stoppedBySpec(v1alpha1.CancellationSoft), v1alpha1.ReasonStopIsFinal},
		"stop, None":                    {"Rollout", "", "state: Stopped, stopCancellation: None", true, stoppedBySpec(v1alpha1.CancellationNone), v1alpha1.ReasonStopIsFinal},
		"stop, Soft":                    {"Rollout", "state: Running", "state: Stopped", true, stoppedBySpec(v1alpha1.CancellationSoft), v1alpha1.ReasonStopIsFinal},
		"stop, Force":                   {"Rollout", "", "state: Stopped, stopCancellation: Force", true, stoppedBySpec(v1alpha1.CancellationForce), v1alpha1.ReasonStopIsFinal},
		"raise a stop":                  {"Rollout", "state: Stopped", "state: Stopped, stopCancellation: Force", true, stoppedBySpec(v1alpha1.CancellationForce), v1alpha1.ReasonStopIsFinal},
		"the cancellation of a removal": {"Rollout", "", "deletionCancellation: Force", true, started, ""},
		"stop a finished rollout":       {"Rollout", "", "state: Stopped, stopCancellation: Force", false, finished, v1alpha1.ReasonSucceeded},
		"assign":                        {"Target", "", "assignment: {distributionSet: firmware-1}", true, func(w *world.World) bool { return w.Target("object").Status.Assignment != nil }, v1alpha1.ReasonReady},
		"hold":                          {"Target", "", "hold: true", true, seen, v1alpha1.ReasonReady},
		"confirm all updates":           {"Target", "", "autoConfirm: Always", true, seen, v1alpha1.ReasonReady},
		"cancel":                        {"Target", "", "cancel: {upTo: 1, cancellation: Force}", true, seen, v1alpha1.ReasonReady},
		"invalidate, None":              {"DistributionSet", "", "invalidation: {cancellation: None}", true, invalidated, v1alpha1.ReasonInvalidationIsFinal},
		"invalidate, Soft":              {"DistributionSet", "", "invalidation: {cancellation: Soft, reason: bricks}", true, invalidated, v1alpha1.ReasonInvalidationIsFinal},
		"invalidate, Force":             {"DistributionSet", "", "invalidation: {cancellation: Force, deleteRollouts: true}", true, invalidated, v1alpha1.ReasonInvalidationIsFinal},
		"a stronger cancellation":       {"DistributionSet", "invalidation: {cancellation: None}", "invalidation: {cancellation: Force}", true, invalidated, v1alpha1.ReasonDistributionSetInvalid},
		"another reason":                {"DistributionSet", "invalidation: {cancellation: Soft, reason: a}", "invalidation: {cancellation: Soft, reason: b}", true, invalidated, v1alpha1.ReasonDistributionSetInvalid},
		"pause for new devices":         {"AutoAssignment", "", "state: Paused", true, seen, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world.New(t)
			w.Set("firmware-1", "1.0")
			behavior := devicesim.Silent
			if !verb.silent {
				behavior = devicesim.Obedient
			}
			w.Devices(behavior, w.Targets("device", 2, nil)...)
			needed := map[string]string{
				"Rollout": "update: {distributionSet: firmware-1}, stabilizationSeconds: 1", "Target": "name: Object", "AutoAssignment": "update: {distributionSet: firmware-1}",
				"DistributionSet": `name: firmware, version: "2.0", type: full-image, modules: [{name: firmware-1}]`,
			}[verb.kind]
			of := func(more string) string {
				return manifest(verb.kind, "object", strings.TrimSuffix(needed+", "+more, ", "))
			}
			for _, way := range []string{"apply", "apply --server-side --force-conflicts", "replace"} {
				if way == "replace" && verb.done(w) {
					if err := apply(w, of(verb.before), way); err != nil {
						t.Errorf("%s: %v", way, err)
					}
					continue
				}
				// The object exists as before the commit, and has been reconciled.
				if err := apply(w, of(verb.before), way); err != nil {
					t.Fatalf("%s: %v", way, err)
				}
				w.Eventually("it was reconciled", func() string { return unseen(w, verb.kind, verb.before) })
				if !verb.silent {
					w.EventuallyRollout("object", "finishes", world.InState(v1alpha1.RolloutFinished))
				}
				if err := apply(w, of(verb.commit), way); err != nil {
					t.Fatalf("%s of the commit: %v", way, err)
				}
				w.Eventually("it was carried out", func() string {
					if !verb.done(w) {
						return "it was not carried out"
					}
					return ""
				})
				if err := apply(w, of(verb.before), way); err != nil {
					t.Errorf("%s of the revert: %v", way, err)
				}
			}
			if verb.says != "" {
				w.Eventually("Ready says "+verb.says, func() string { return readyIsNot(w, verb.kind, verb.says) })
			}
		})
	}
}

func started(w *world.World) bool { return w.Rollout("object").Status.StartedAt != nil }
func finished(w *world.World) bool {
	return w.Rollout("object").Status.State == v1alpha1.RolloutFinished
}

// seen is for commits that need no other sign than a reconcile.
func seen(*world.World) bool { return true }

func stoppedBySpec(c v1alpha1.Cancellation) func(*world.World) bool {
	return func(w *world.World) bool {
		s := w.Rollout("object").Status.Stop
		return s != nil && s.Cancellation == c
	}
}

func invalidated(w *world.World) bool {
	i := w.DistributionSet("object").Status.Invalidation
	return i != nil && i.Recorded != nil
}

// statusOf returns the fields of the status that all kinds have.
func statusOf(w *world.World, kind string) (generation, observed int64, conditions []metav1.Condition) {
	w.T.Helper()
	key := client.ObjectKey{Namespace: w.Namespace, Name: "object"}
	read := func(o client.Object) {
		if err := w.Client.Get(w.T.Context(), key, o); err != nil {
			w.T.Fatal(err)
		}
	}
	switch kind {
	case "Rollout":
		var o v1alpha1.Rollout
		read(&o)
		return o.Generation, o.Status.ObservedGeneration, o.Status.Conditions
	case "Target":
		var o v1alpha1.Target
		read(&o)
		return o.Generation, o.Status.ObservedGeneration, o.Status.Conditions
	case "DistributionSet":
		var o v1alpha1.DistributionSet
		read(&o)
		return o.Generation, o.Status.ObservedGeneration, o.Status.Conditions
	}
	var o v1alpha1.AutoAssignment
	read(&o)
	return o.Generation, o.Status.ObservedGeneration, o.Status.Conditions
}

// unseen returns what is missing until the object is reconciled and its decisions before the commit
// are recorded, or "".
func unseen(w *world.World, kind, before string) string {
	generation, observed, _ := statusOf(w, kind)
	switch {
	case generation != observed:
		return fmt.Sprintf("generation %d, observed %d", generation, observed)
	case kind == "Rollout" && strings.Contains(before, "Stopped") && w.Rollout("object").Status.Stop == nil:
		return "the stop is not recorded"
	case kind == "Rollout" && strings.Contains(before, "Running") && w.Rollout("object").Status.StartedAt == nil:
		return "the rollout has not started"
	case kind == "DistributionSet" && before != "" && !invalidated(w):
		return "the invalidation is not recorded"
	}
	return ""
}

func readyIsNot(w *world.World, kind, reason string) string {
	generation, observed, conditions := statusOf(w, kind)
	if ready := world.Condition(conditions, v1alpha1.ConditionReady); generation != observed || ready == nil || ready.Reason != reason {
		return fmt.Sprintf("%+v", ready)
	}
	return ""
}

// An emergency stop is reverted, and the same commit stops another release. The revert has no
// effect, and the other stop is carried out. The condition ends when the field has its old value
// again.
func TestRevertOfAnInvalidationDelaysNoOtherStop(t *testing.T) {
	t.Parallel()
	f := halfway(t, 2)
	f.Set("firmware-2", "2.0")
	set := func(name, version, more string) string {
		return manifest("DistributionSet", name, fmt.Sprintf("name: firmware, version: %q, type: full-image, modules: [{name: %s}]%s", version, name, more))
	}
	valid := set("firmware-1", "1.0", "") + set("firmware-2", "2.0", "")
	const bricks = `, invalidation: {cancellation: Force, reason: "bricks the modem"}`
	stop := set("firmware-1", "1.0", bricks) + set("firmware-2", "2.0", "")
	second := set("firmware-1", "1.0", "") + set("firmware-2", "2.0", bricks)
	for _, step := range []struct{ what, manifests string }{{"as it was", valid}, {"the stop", stop}} {
		if err := apply(f.World, step.manifests, "apply"); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
	}
	committed := time.Now()
	f.EventuallyRollout("firmware-1", "stops", world.InState(v1alpha1.RolloutStopped))
	for _, way := range []string{"apply", "apply --server-side --force-conflicts", "replace"} {
		if err := apply(f.World, second, way); err != nil {
			t.Fatalf("%s of the revert and the second stop: %v", way, err)
		}
	}
	f.Eventually("both are invalid, and the first one has a condition about the revert", func() string {
		one, two := f.DistributionSet("firmware-1").Status, f.DistributionSet("firmware-2").Status
		if !world.Says(one.Conditions, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonInvalidatedBySpec) ||
			!world.Says(one.Conditions, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidationIsFinal) ||
			!world.Says(one.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalidationIsFinal) ||
			!world.Says(two.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid) {
			return fmt.Sprintf("%+v and %+v", one.Conditions, two.Conditions)
		}
		return ""
	})
	bringOnline(t, f.lateDevices, f.late...)
	f.noneStarted(committed)
	f.isRefused()
	if message := world.Condition(f.DistributionSet("firmware-1").Status.Conditions, v1alpha1.ConditionStalled).Message; !strings.Contains(message,
		`change it back to {cancellation: Force, reason: "bricks the modem"}`) {
		t.Errorf("the message is %q", message)
	}
	if n := eventsOf(f.World, v1alpha1.ReasonInvalidationIsFinal); n != 1 {
		t.Errorf("%d events, want one", n)
	}
	if err := apply(f.World, stop, "replace"); err != nil {
		t.Fatalf("the old value is refused: %v", err)
	}
	f.Eventually("the first one is Ready again, the second one was reverted", func() string {
		one, two := f.DistributionSet("firmware-1").Status.Conditions, f.DistributionSet("firmware-2").Status.Conditions
		if !world.Says(one, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid) || world.Condition(one, v1alpha1.ConditionStalled) != nil ||
			!world.Says(two, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidationIsFinal) {
			return fmt.Sprintf("%+v and %+v", one, two)
		}
		return ""
	})

	// The second set, deleted and created again without the field, is invalid because of the
	// record.
	f.Kubectl("delete", "distset", "firmware-2")
	if err := apply(f.World, set("firmware-2", "2.0", ""), "apply"); err != nil {
		t.Fatal(err)
	}
	f.Eventually("it is invalid from its first reconcile", func() string {
		if c := f.DistributionSet("firmware-2").Status.Conditions; !world.Says(c, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonPreviouslyInvalidated) ||
			!world.Says(c, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDistributionSetInvalid) {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
}

// eventsOf counts how often people were n of a reason.
func eventsOf(w *world.World, reason string) (n int) {
	w.T.Helper()
	var events corev1.EventList
	if err := w.Client.List(w.T.Context(), &events, client.InNamespace(w.Namespace)); err != nil {
		w.T.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Reason == reason {
			n++
		}
	}
	return n
}

// A rollout is stopped while devices have open actions, and the stop is reverted. No device starts,
// devices that were asked to cancel are still asked, and a higher stopCancellation still has an
// effect.
func TestRevertOfAStopChangesNothingForDevices(t *testing.T) {
	t.Parallel()
	s := atWork(t)
	of := func(more string) string {
		return manifest("Rollout", "firmware-1", "update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupCount: 1"+more)
	}
	for _, more := range []string{"", ", state: Stopped"} {
		if err := apply(s.World, of(more), "apply"); err != nil {
			t.Fatal(err)
		}
	}
	committed := time.Now()
	s.EventuallyRollout("firmware-1", "records the stop", func(r *v1alpha1.Rollout) bool { return r.Status.Stop != nil })
	if err := apply(s.World, of(""), "apply"); err != nil {
		t.Fatalf("the revert is refused: %v", err)
	}
	r := s.EventuallyRollout("firmware-1", "has a condition that the stop is final", func(r *v1alpha1.Rollout) bool {
		return r.Status.State == v1alpha1.RolloutStopped && world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonStopIsFinal)
	})
	bringOnline(t, s.away, s.late...)
	for _, name := range s.busy {
		s.EventuallyTarget(name, "is canceled", newest(v1alpha1.ActionCanceled))
	}
	s.EventuallyPolled(s.others, 5, committed.Add(time.Second), s.late...)
	if started := s.others.StartedAfter(committed.Add(time.Second)); len(started) > 0 {
		t.Errorf("devices started after the stop: %v", started)
	}
	for _, name := range s.silent {
		if a := action.Newest(&s.Target(name).Status); a.State != v1alpha1.ActionCanceling {
			t.Errorf("%s is %s", name, a.State)
		}
	}
	if err := apply(s.World, of(", state: Stopped, stopCancellation: Force"), "apply"); err != nil {
		t.Fatalf("stopped again with Force: %v", err)
	}
	for _, name := range s.silent {
		s.EventuallyTarget(name, "is closed", newest(v1alpha1.ActionCanceled))
	}
	r = s.EventuallyRollout(r.Name, "is Ready again", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonStopped)
	})
	if want := (v1alpha1.Counts{Targets: 8, Canceled: 8}); *r.Status.Targets != want {
		s.EventuallyRollout(r.Name, "counts all targets as canceled", func(r *v1alpha1.Rollout) bool { return *r.Status.Targets == want })
	}
	if n := eventsOf(s.World, v1alpha1.ReasonStopIsFinal); n != 1 {
		t.Errorf("%d events, want one", n)
	}
}

// Devices that poll after the revert of Forced to Soft still get forced.
func TestRevertOfForcedChangesNothingForDevices(t *testing.T) {
	t.Parallel()
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 2, nil)
	of := func(kind string) string {
		return manifest("Rollout", "firmware-1", "update: {distributionSet: firmware-1, type: "+kind+"}, stabilizationSeconds: 1, groups: [{name: all}]")
	}
	for _, kind := range []string{"Soft", "Forced"} {
		if err := apply(w, of(kind), "apply"); err != nil {
			t.Fatal(err)
		}
		w.EventuallyRollout("firmware-1", "records "+kind, func(r *v1alpha1.Rollout) bool { return r.Status.UpdateType == v1alpha1.UpdateType(kind) })
	}
	if err := apply(w, of("Soft"), "apply"); err != nil {
		t.Fatalf("the revert is refused: %v", err)
	}
	w.EventuallyRollout("firmware-1", "has a condition that Forced is final", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonForcedIsFinal)
	})
	w.Devices(devicesim.Obedient, names...)
	w.EventuallyRollout("firmware-1", "finishes, and is Ready", func(r *v1alpha1.Rollout) bool {
		return world.Says(r.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	})
	for _, name := range names {
		if a := action.Newest(&w.Target(name).Status); a.Update.Type != v1alpha1.UpdateTypeForced {
			t.Errorf("%s got an update of type %s", name, a.Update.Type)
		}
	}
}
