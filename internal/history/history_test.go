// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package history

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var start = time.Date(2026, 12, 1, 2, 0, 0, 0, time.UTC)

func micro(minutes int) *metav1.MicroTime {
	t := metav1.NewMicroTime(start.Add(time.Duration(minutes) * time.Minute))
	return &t
}

func second(minutes int) *metav1.Time { return &metav1.Time{Time: micro(minutes).Time} }

// lines returns the decisions as lines of text.
func lines(all []Decision) (text []string) {
	for _, d := range all {
		line := d.Time().Format("15:04") + " " + d.Kind
		if d.Reason != d.Kind {
			line += " (" + d.Reason + ")"
		}
		if line += ": " + d.Message; d.Field != "" {
			line += " [" + d.Field + "]"
		}
		text = append(text, line)
	}
	return text
}

func TestDecisionsOfARollout(t *testing.T) {
	for name, test := range map[string]struct {
		status v1alpha1.RolloutStatus
		spec   v1alpha1.RolloutSpec
		want   []string
	}{
		"a new rollout": {},
		"a plan, a start, and two groups of which one has a deleted target": {
			status: v1alpha1.RolloutStatus{
				Plan: &v1alpha1.PlanStatus{Hash: "sha256:6d28", Targets: 11, Groups: 3, CreatedAt: second(1)}, StartedAt: micro(2),
				Groups: []v1alpha1.GroupStatus{{Name: "canary", OpenedAt: second(2), Counts: v1alpha1.Counts{Targets: 1}}, {Name: "early", OpenedAt: second(3), Counts: v1alpha1.Counts{Targets: 10, Removed: 1}}, {Name: "rest"}},
			},
			want: []string{
				"02:01 Planned: planned 11 targets in 3 groups, plan sha256:6d28",
				"02:02 Started: the rollout started",
				"02:02 GroupOpened: group canary opened: 1 target",
				"02:03 GroupOpened: group early opened: 9 targets (deleted: 1)",
			},
		},
		"a plan whose time is not known": {status: v1alpha1.RolloutStatus{Plan: &v1alpha1.PlanStatus{Hash: "sha256:6d28"}}},
		"a pause by spec.state, after one that was lifted": {
			status: v1alpha1.RolloutStatus{PauseReason: v1alpha1.PauseBySpec, PauseMessage: "spec.state is Paused", PausedAt: micro(9), Handled: &v1alpha1.HandledRequests{ResumedAt: micro(5)}},
			want: []string{
				"02:09 Paused (PausedBySpec): spec.state is Paused [spec.state]",
				"02:05 Resumed: spec.resumedAt 2026-12-01T02:05:00Z lifted the pause; only later failures count [spec.resumedAt]",
			},
		},
		"an advance that spec still has": {
			spec:   v1alpha1.RolloutSpec{Advance: &v1alpha1.Advance{To: "rest", At: *second(4)}},
			status: v1alpha1.RolloutStatus{Handled: &v1alpha1.HandledRequests{AdvanceAt: micro(4)}},
			want:   []string{"02:04 Advanced: spec.advance opens the groups up to rest even if their conditions are not met [spec.advance]"},
		},
		"an advance before the one that spec has": {
			spec:   v1alpha1.RolloutSpec{Advance: &v1alpha1.Advance{To: "rest", At: *second(5)}},
			status: v1alpha1.RolloutStatus{Handled: &v1alpha1.HandledRequests{AdvanceAt: micro(4)}},
			want:   []string{"02:04 Advanced: spec.advance opened groups even if their conditions were not met [spec.advance]"},
		},
		"a retry that was carried out": {
			status: v1alpha1.RolloutStatus{Handled: &v1alpha1.HandledRequests{RetryAt: micro(4), RetriedAt: micro(6)}},
			want:   []string{"02:06 Retried: spec.retry of 2026-12-01T02:04:00Z was carried out: targets that failed before are tried again [spec.retry]"},
		},
		"a retry that was refused": {
			status: v1alpha1.RolloutStatus{Handled: &v1alpha1.HandledRequests{RetryAt: micro(4)}},
			want:   []string{"02:04 RetryRefused: spec.retry is refused: a stopped rollout is final; create another Rollout [spec.retry]"},
		},
		"a retry that was refused after one that was carried out": {
			status: v1alpha1.RolloutStatus{Handled: &v1alpha1.HandledRequests{RetryAt: micro(9), RetriedAt: micro(6)}},
			want: []string{
				"02:09 RetryRefused: spec.retry is refused: a stopped rollout is final; create another Rollout [spec.retry]",
				"02:06 Retried: spec.retry was carried out: targets that failed before are tried again [spec.retry]",
			},
		},
		"a stop by spec.state": {
			status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutStopped, Stop: &v1alpha1.StopStatus{Cancellation: v1alpha1.CancellationSoft, ObservedAt: *micro(7)}, FinishedAt: micro(8),
				Conditions: []metav1.Condition{{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonStopped, Message: "stopped by spec.state"}}},
			want: []string{
				"02:07 Stopping: spec.state Stopped took effect with cancellation Soft [spec.state]",
				"02:08 Stopped: stopped by spec.state [spec.state]",
			},
		},
		"a stop by the invalidation of the set": {
			status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutStopped, FinishedAt: micro(8), Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionInvalidated, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDistributionSetInvalid, Message: "DistributionSet fw was invalidated", LastTransitionTime: *second(7)},
			}},
			want: []string{
				"02:07 Invalidated (DistributionSetInvalid): DistributionSet fw was invalidated",
				"02:08 Stopped: the rollout is Stopped",
			},
		},
		"the end, with the result": {
			status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutFinished, FinishedAt: micro(8), Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonFinishedWithErrors, Message: "a group ended in Error"},
			}},
			want: []string{"02:08 Finished (FinishedWithErrors): a group ended in Error"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(test.want, lines(OfRollout(&v1alpha1.Rollout{Spec: test.spec, Status: test.status}))); d != "" {
				t.Errorf("decisions (-want +got):\n%s", d)
			}
		})
	}
}

func TestDecisionsOfASet(t *testing.T) {
	set := &v1alpha1.DistributionSet{}
	if got := OfSet(set); len(got) > 0 {
		t.Errorf("a new set has the decisions %q", lines(got))
	}
	set.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionInvalidated, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInvalidatedBySpec, Message: "the set was invalidated"}}
	set.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationSoft, ObservedAt: second(1), FinishedAt: second(2), Rollouts: 1,
		Actions: &v1alpha1.InvalidatedActions{Total: 3, Canceled: 1, Canceling: 2}}
	if d := cmp.Diff([]string{
		"02:01 Invalidated (InvalidatedBySpec): cancellation Soft, affects 1 rollout and 0 auto-assignments: the set was invalidated [spec.invalidation]",
		"02:02 InvalidationFinished: 3 open actions processed: 1 canceled, 2 waiting for their devices to confirm the cancellation, 0 continuing or ended with a result",
	}, lines(OfSet(set))); d != "" {
		t.Errorf("decisions (-want +got):\n%s", d)
	}
	set.Status.Conditions[0].Reason, set.Status.Invalidation.Actions = v1alpha1.ReasonPreviouslyInvalidated, nil
	if got := OfSet(set); got[0].Field != "" || got[1].Message != "there was no open action" {
		t.Errorf("after a restore, the decisions are %q", lines(got))
	}
}
