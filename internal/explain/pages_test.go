// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/fleet"
)

// TestStoppedAutoAssignmentIsNotNext: an auto-assignment that was stopped before it started never
// starts, so it is not the next update of a target, and no field starts it.
func TestStoppedAutoAssignmentIsNotNext(t *testing.T) {
	for name, tt := range map[string]struct {
		state   v1alpha1.AutoAssignmentState
		code    string
		isFinal bool
	}{
		"stopped": {v1alpha1.AutoAssignmentStopped, "Stopped", true},
		"paused":  {v1alpha1.AutoAssignmentPaused, "NotStarted", false},
		"ready":   {v1alpha1.AutoAssignmentReady, "NotStarted", false},
	} {
		t.Run(name, func(t *testing.T) {
			dev := built.Target("dev")
			x, err := fleet.Of([]client.Object{dev, built.AutoAssignment("auto", "firmware", func(a *v1alpha1.AutoAssignment) {
				a.Status.State, a.Spec.State = tt.state, v1alpha1.AutoAssignmentIntentPaused
			})})
			if err != nil {
				t.Fatal(err)
			}
			why := Why(x, dev, "", noon)
			if len(why.Updates) != 1 || why.Updates[0].Code != tt.code || why.Updates[0].Final != tt.isFinal {
				t.Fatalf("updates: %+v", why.Updates)
			}
			if (why.Next == nil) != tt.isFinal || (why.Updates[0].Change == nil) != tt.isFinal {
				t.Errorf("next %+v, change %+v", why.Next, why.Updates[0].Change)
			}
		})
	}
}

func TestEffectsOfInvalidation(t *testing.T) {
	for kind, want := range map[v1alpha1.Cancellation]string{
		v1alpha1.CancellationNone:  "Rollouts that had started go on. Rollouts that had not started are refused. Devices that had started go on.",
		v1alpha1.CancellationSoft:  "Rollouts that had started are stopped. Rollouts that had not started are stopped. Devices that had started are asked to cancel, which they may refuse.",
		v1alpha1.CancellationForce: "Rollouts that had started are stopped at once. Rollouts that had not started are stopped at once. Actions of devices that had started are closed at once, and these targets are inconsistent until their next success.",
	} {
		got := strings.Join(EffectsOfInvalidation(kind), " ")
		if want := "New uses of the set are refused. Its auto-assignments are stopped. " + want + " Devices that run the set keep it."; got != want {
			t.Errorf("%s: %s\nwant %s", kind, got, want)
		}
	}
}

func TestProgressOfAnInvalidation(t *testing.T) {
	at := metav1.NewTime(noon)
	given := func(kind v1alpha1.Cancellation, actions *v1alpha1.InvalidatedActions) *v1alpha1.DistributionSet {
		return built.DistributionSet("bad", func(s *v1alpha1.DistributionSet) {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: kind}
			s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: kind, Recorded: s.Spec.Invalidation, ObservedAt: &at, Actions: actions}
		})
	}
	for name, tt := range map[string]struct {
		set  *v1alpha1.DistributionSet
		want string
	}{
		"not recorded yet": {built.DistributionSet("bad", func(s *v1alpha1.DistributionSet) {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft}
		}), "Goshawk has not recorded the invalidation yet: no device starts the set any more, and the rest follows within seconds."},
		"no action":             {given(v1alpha1.CancellationForce, nil), "No device was in progress with the set."},
		"actions that go on":    {given(v1alpha1.CancellationNone, &v1alpha1.InvalidatedActions{Total: 1}), "1 device had started the set, and may finish it."},
		"actions in progress":   {given(v1alpha1.CancellationSoft, &v1alpha1.InvalidatedActions{Total: 9, Canceling: 2}), "9 devices had started the set: 2 asked to cancel and not answered yet, 7 not asked yet."},
		"actions that are over": {given(v1alpha1.CancellationForce, &v1alpha1.InvalidatedActions{Total: 5, Canceled: 4, Refused: 1}), "5 devices had started the set: 4 canceled, 1 refused to cancel or finished first."},
	} {
		t.Run(name, func(t *testing.T) {
			if got := invalidationProgress(tt.set).Progress; got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if invalidationProgress(built.DistributionSet("good")) != nil {
		t.Error("a valid set has an invalidation")
	}
}

// TestSourceOfADownload: only protocol and host are shown, because the rest can be a secret.
func TestSourceOfADownload(t *testing.T) {
	for url, want := range map[string]string{
		"https://cdn.example.com/os.swu":                      "HTTPS cdn.example.com",
		"https://user:secret@cdn.example.com:8443/os.swu?t=x": "HTTPS cdn.example.com:8443",
		"https://cdn.example.com":                             "HTTPS cdn.example.com",
		"https://cdn.example.com?token=secret":                "HTTPS cdn.example.com",
		"https://a@b@cdn.example.com/":                        "HTTPS cdn.example.com",
		"https://secret?x=@cdn.example.com/os":                "HTTPS cdn.example.com",
		"broken":                                              "HTTPS ",
	} {
		if got := sourceOfDownload(&v1alpha1.Download{Protocol: v1alpha1.ProtocolHTTPS, URL: url}); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

// TestSoftwareOfATargetIsBounded: an inventory has up to 512 entries, of which a page has the
// first.
func TestSoftwareOfATargetIsBounded(t *testing.T) {
	dev := built.Target("dev")
	i := &v1alpha1.TargetInventory{ObjectMeta: dev.ObjectMeta, Status: v1alpha1.TargetInventoryStatus{TargetUID: dev.UID}}
	for n := range 500 {
		i.Status.Installed = append(i.Status.Installed, v1alpha1.InventorySoftware{Group: "org.example", Name: fmt.Sprintf("package-%03d", n), Version: "1"})
	}
	i.Status.Features = []v1alpha1.InventoryFeature{{ID: "os", SoftwareModuleType: "os"}, {ID: "silent"}, {ID: "future", SoftwareModuleType: "app", Definition: "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:9.0.0"}}
	x, err := fleet.Of([]client.Object{dev, i})
	if err != nil {
		t.Fatal(err)
	}
	d := TargetOf(x, dev, true, noon).Software
	if len(d.Installed) != maxSoftware || d.OmittedInstalled != 400 || d.Installed[0].Name != "org.example/package-000" {
		t.Errorf("%d entries, %d omitted, the first is %+v", len(d.Installed), d.OmittedInstalled, d.Installed[0])
	}
	var problems []bool
	for _, f := range d.Features {
		problems = append(problems, f.Problem != "")
	}
	if !slices.Equal(problems, []bool{false, true, true}) {
		t.Errorf("features %+v", d.Features)
	}
	if d := TargetOf(x, dev, false, noon).Software; len(d.Installed)+len(d.Features) != 0 {
		t.Errorf("software without the right to see it: %+v", d)
	}
}

func TestPeersOfATarget(t *testing.T) {
	_, r := rosterOf(t,
		built.Target("a", ofType("gateway")), built.Target("b", ofType("gateway")), built.Target("c", ofType("gateway")), built.Target("d", ofType("gateway")),
		built.Target("e", ofType("sensor")), built.Target("f"), within("other", built.Target("g", ofType("gateway"))))
	for name, want := range map[string]string{"a": "b c", "b": "a c", "d": "a b"} {
		var names []string
		for _, p := range r.Peers(built.Target(name, ofType("gateway")), 2) {
			names = append(names, p.Target.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("peers of %s: %s, want %s", name, got, want)
		}
	}
	if peers := r.Peers(built.Target("f"), 2); len(peers) != 0 {
		t.Errorf("peers of a target without a type: %v", peers)
	}
}

func ofType(kind string) func(*v1alpha1.Target) {
	return func(t *v1alpha1.Target) { t.Spec.Type = kind }
}
