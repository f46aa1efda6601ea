// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// aBusyFleet returns a set in use: a running rollout, one that waits for its approval, a finished
// one, an auto-assignment, an assignment, and devices at every stage.
func aBusyFleet() []client.Object {
	set := objects.DistributionSet("firmware-2-1", func(s *v1alpha1.DistributionSet) { s.Status.ContentHash = "c0ffee" })
	named := func(name string) func(*v1alpha1.Rollout) {
		return func(r *v1alpha1.Rollout) {
			r.Name, r.UID, r.Status.UID = name, types.UID("uid-"+name), types.UID("uid-"+name)
		}
	}
	all := []client.Object{set,
		aRollout(isRunning),
		aRollout(named("next-week")),
		aRollout(named("lab"), isRunning, func(r *v1alpha1.Rollout) {
			r.Status.State, r.Status.Targets = v1alpha1.RolloutFinished, &v1alpha1.Counts{Targets: 2, Succeeded: 2}
		}),
		objects.Rollout("of-another-set", "firmware-2-0"),
		objects.AutoAssignment("latest", "firmware-2-1", func(a *v1alpha1.AutoAssignment) {
			a.Status.State = v1alpha1.AutoAssignmentRunning
			a.Status.Targets = &v1alpha1.AutoAssignmentTargets{Matched: 400, Started: 3, Succeeded: 120, Failed: 2}
		}),
		objects.Target("gw-20", func(t *v1alpha1.Target) {
			t.Spec.Assignment = &v1alpha1.Assignment{Update: v1alpha1.Update{DistributionSet: "firmware-2-1"}}
		}),
		objects.Target("gw-21", func(t *v1alpha1.Target) { t.Status.Installed = &v1alpha1.InstalledSet{ContentHash: "c0ffee"} }),
	}
	for i, state := range []v1alpha1.ActionState{v1alpha1.ActionWaitingForConfirmation, v1alpha1.ActionRetrieved, v1alpha1.ActionRunning, v1alpha1.ActionDownloading,
		v1alpha1.ActionDownloading, v1alpha1.ActionDownloading, v1alpha1.ActionDownloading, v1alpha1.ActionDownloaded, v1alpha1.ActionInstalling, v1alpha1.ActionCanceling, v1alpha1.ActionFinished} {
		all = append(all, objects.Target(fmt.Sprintf("gw-%02d", i), func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{build.Action(100, "firmware-2-1", state, func(a *v1alpha1.Action) {
				a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "firmware-2-1", UID: "uid-firmware-2-1"}
			})}
			if i%2 == 1 {
				t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionOnline, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonConnected}}
			}
		}))
	}
	return all
}

func TestInvalidationPreview(t *testing.T) {
	editor := []string{"patch distributionsets", "patch rollouts", "delete rollouts", "patch targets", "cancel targets"}
	invalid := objects.DistributionSet("firmware-2-1", func(s *v1alpha1.DistributionSet) {
		at := ago(10 * time.Minute)
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft, Reason: "bricks the modem"}
		s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationSoft, Recorded: s.Spec.Invalidation, ObservedAt: &at}
	})
	tests := map[string]struct {
		objects []client.Object
		args    string
	}{
		"preview":                 {aBusyFleet(), "--dry-run"},
		"preview-delete-rollouts": {aBusyFleet(), "--dry-run --delete-rollouts"},
		"preview-for-programs":    {aBusyFleet(), "--dry-run -o json"},
		"preview-not-used":        {[]client.Object{objects.DistributionSet("firmware-2-1")}, "--dry-run"},
		"preview-invalid":         {[]client.Object{invalid}, "--dry-run"},
		"none":                    {aBusyFleet(), "--type None"},
		"soft":                    {aBusyFleet(), "--type Soft --reason bricks"},
		"force":                   {aBusyFleet(), "--type Force --delete-rollouts"},
		"patch":                   {aBusyFleet(), "--type Force --delete-rollouts --patch"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := newWorld(t, tc.objects...).answerRights(editor...).run(append([]string{"invalidate", "firmware-2-1"}, strings.Fields(tc.args)...)...)
			if got.code != 0 || got.errOut != "" {
				t.Fatalf("code %d, %s", got.code, got.errOut)
			}
			golden(t, "invalidate/"+name+".txt", got.out)
		})
	}
}

func TestInvalidationWithoutSenseIsRefused(t *testing.T) {
	invalid := objects.DistributionSet("firmware-2-1", func(s *v1alpha1.DistributionSet) {
		at := ago(10 * time.Minute)
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft, Reason: "bricks the modem"}
		s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationSoft, Recorded: s.Spec.Invalidation, ObservedAt: &at}
	})
	again := objects.DistributionSet("firmware-2-1", func(s *v1alpha1.DistributionSet) {
		s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationNone}
	})
	valid := objects.DistributionSet("firmware-2-1")
	tests := map[string]struct {
		set  *v1alpha1.DistributionSet
		args string
		want string
		code int
	}{
		"without a type":                   {valid, "", "--type is missing: None, Soft or Force", CodeUsage},
		"with an unknown type":             {valid, "--type Hard", "it must be one of None, Soft, Force", CodeUsage},
		"twice":                            {invalid, "--type Force", "it was invalidated with Soft at 2026-06-01T11:50:00Z (bricks the modem)\nan invalidation is not repeatable", CodeError},
		"of a set that was invalid before": {again, "--type Soft", "it was invalidated with None before this object was created", CodeError},
		"that deletes rollouts with Soft":  {valid, "--type Soft --delete-rollouts", "--delete-rollouts does not go with --type Soft\nchoose --type Force", CodeError},
		"that is a preview and writes":     {valid, "--type Soft --dry-run --apply", "--dry-run and --apply do not go together", CodeUsage},
		"of a set whose name has a slip":   {objects.DistributionSet("firmware-2-2"), "--type Soft", "similar names: firmware-2-2", CodeNotFound},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := newWorld(t, tc.set).answerRights().run(append([]string{"invalidate", "firmware-2-1"}, strings.Fields(tc.args)...)...)
			if got.code != tc.code || got.out != "" || !strings.Contains(got.errOut, tc.want) {
				t.Errorf("code %d, output %q, errors %q; want %d, %q", got.code, got.out, got.errOut, tc.code, tc.want)
			}
		})
	}
}
