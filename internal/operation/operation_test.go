// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package operation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// noon is the time on the computer of the user.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

var objects = build.At(noon.Add(-time.Hour))

// started returns a rollout of three groups whose first group is open. One target has failed.
func started(edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
	return objects.Rollout("firmware", "firmware", append([]func(*v1alpha1.Rollout){func(r *v1alpha1.Rollout) {
		at, opened := metav1.NewMicroTime(noon.Add(-30*time.Minute)), metav1.NewTime(noon.Add(-30*time.Minute))
		r.Status.State, r.Status.StartedAt = v1alpha1.RolloutRunning, &at
		for _, name := range []string{"a", "b", "c"} {
			r.Status.Groups = append(r.Status.Groups, v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupScheduled})
		}
		r.Status.Groups[0].OpenedAt = &opened
		r.Status.Targets = &v1alpha1.Counts{Targets: 3, Failed: 1}
	}}, edits...)...)
}

func valueOf(t *testing.T, c *Change, err error, path string) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Fields {
		if f.Path == path {
			return fmt.Sprint(f.New)
		}
	}
	t.Fatalf("%s does not change: %+v", path, c.Fields)
	return ""
}

// A request has an effect only if its time is after the start, after the last request, and for a
// retry after the failures. The clock of the user may be behind that of the cluster.
func TestTimeOfARequest(t *testing.T) {
	at := func(d time.Duration) metav1.Time { return metav1.NewTime(noon.Add(d)) }
	tests := map[string]struct {
		edit           func(*v1alpha1.Rollout)
		retry, advance string
	}{
		"the present time": {func(*v1alpha1.Rollout) {}, "2026-06-01T12:00:00Z", "2026-06-01T12:00:00Z"},
		"a start in the future": {func(r *v1alpha1.Rollout) {
			start := metav1.NewMicroTime(noon.Add(1500 * time.Millisecond))
			r.Status.StartedAt = &start
		}, "2026-06-01T12:00:02Z", "2026-06-01T12:00:02Z"},
		"a failure in the future": {func(r *v1alpha1.Rollout) {
			seen := at(time.Minute)
			r.Status.Failures = []v1alpha1.FailureCount{{StatusCode: "1", Count: 1, LastSeen: &seen}}
		}, "2026-06-01T12:01:01Z", "2026-06-01T12:00:00Z"},
		"a request in the same second": {func(r *v1alpha1.Rollout) {
			handled := metav1.NewMicroTime(noon)
			r.Spec.Retry, r.Spec.Advance = &v1alpha1.Retry{At: at(0)}, &v1alpha1.Advance{To: "a", At: at(0)}
			r.Status.Handled = &v1alpha1.HandledRequests{RetryAt: &handled, AdvanceAt: &handled}
		}, "2026-06-01T12:00:01Z", "2026-06-01T12:00:01Z"},
	}
	for name, tc := range tests {
		r := started(tc.edit)
		retry, err := Retry(r, nil, nil, noon)
		if got := valueOf(t, retry, err, "spec.retry.at"); got != tc.retry {
			t.Errorf("%s: spec.retry.at is %s, want %s", name, got, tc.retry)
		}
		advance, err := Advance(r, "", noon)
		if got := valueOf(t, advance, err, "spec.advance.at"); got != tc.advance {
			t.Errorf("%s: spec.advance.at is %s, want %s", name, got, tc.advance)
		}
	}
}

// resumedAt is the time of the pause that the user has seen, so that it lifts no later one.
func TestResumeLiftsThePauseThatWasSeen(t *testing.T) {
	paused := func(handled *metav1.MicroTime) *v1alpha1.Rollout {
		return started(func(r *v1alpha1.Rollout) {
			at := metav1.NewMicroTime(noon.Add(-10*time.Minute + 123456*time.Microsecond))
			r.Status.State, r.Status.PauseReason, r.Status.PausedAt = v1alpha1.RolloutPaused, v1alpha1.PauseByErrorBudget, &at
			r.Status.Handled = &v1alpha1.HandledRequests{ResumedAt: handled}
		})
	}
	earlier, later := metav1.NewMicroTime(noon.Add(-20*time.Minute)), metav1.NewMicroTime(noon.Add(-5*time.Minute))
	for name, tc := range map[string]struct {
		handled *metav1.MicroTime
		want    string
	}{
		"the first pause":                       {nil, "2026-06-01T11:50:00.123456Z"},
		"a pause after a resume":                {&earlier, "2026-06-01T11:50:00.123456Z"},
		"a resume with a time of a clock ahead": {&later, "2026-06-01T12:00:00Z"},
	} {
		c, err := Resume(paused(tc.handled), noon)
		if got := valueOf(t, c, err, "spec.resumedAt"); got != tc.want {
			t.Errorf("%s: spec.resumedAt is %s, want %s", name, got, tc.want)
		}
	}
}

// A retry replaces codes and messages of the last one: a merge patch keeps what it does not name.
func TestRetryRemovesEarlierCodes(t *testing.T) {
	r := started(func(r *v1alpha1.Rollout) {
		handled := metav1.NewMicroTime(noon.Add(-time.Minute))
		r.Spec.Retry = &v1alpha1.Retry{At: metav1.NewTime(handled.Time), StatusCodes: []string{"1"}, Messages: []string{"m"}}
		r.Status.Handled = &v1alpha1.HandledRequests{RetryAt: &handled}
	})
	c, err := Retry(r, nil, nil, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"spec": map[string]any{"retry": map[string]any{"at": "2026-06-01T12:00:00Z", "statusCodes": nil, "messages": nil}}}
	if diff := cmp.Diff(want, c.Patch()); diff != "" {
		t.Errorf("the patch (-want +got):\n%s", diff)
	}
}

func TestHashOfAPlan(t *testing.T) {
	plan := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for hash, want := range map[string]bool{
		plan: true, plan[len("sha256:"):]: true, "sha256:0123456789ab": true, "0123456789ab": true, "0123456789a": false, "sha256:": false, "": false,
		"sha256:0123456789ac": false, plan + "0": false, "1123456789ab": false,
	} {
		if got := matchesHash(plan, hash); got != want {
			t.Errorf("%q matches: %t", hash, got)
		}
	}
}

func TestOwnersAndOrigins(t *testing.T) {
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Subresource: subresource, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const state = `{"f:spec":{"f:state":{}}}`
	tests := map[string]struct {
		edit   func(*v1alpha1.Rollout)
		fields []string
		want   string // owners, and origins
	}{
		"kubectl": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("kubectl-client-side-apply", "", state))
		}, []string{"spec.state"}, ""},
		"a status": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("kustomize-controller", "status", state))
		}, []string{"spec.state"}, ""},
		"broken fields": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("kustomize-controller", "", `{`))
		}, []string{"spec.state"}, ""},
		"Flux, another field": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("kustomize-controller", "", state))
		}, []string{"spec.stopCancellation", "spec.resumedAt"}, ""},
		"Flux": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("kustomize-controller", "", state))
		}, []string{"spec.state", "spec.stopCancellation"}, "Flux spec.state"},
		"Argo CD, a field below": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("argocd-controller", "", `{"f:spec":{"f:approval":{".":{},"f:planHash":{}}}}`))
		}, []string{"spec.approval"}, "Argo CD spec.approval"},
		"Argo CD, a field beside": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("argocd-controller", "", `{"f:spec":{"f:retry":{".":{},"f:at":{}}}}`))
		},
			[]string{"spec.retry.statusCodes"}, ""},
		"Helm": {func(r *v1alpha1.Rollout) {
			r.ManagedFields = append(r.ManagedFields, entry("helm", "", state))
			r.Annotations = map[string]string{"meta.helm.sh/release-name": "fleet", "meta.helm.sh/release-namespace": "ns"}
		}, []string{"spec.state"}, "Helm spec.state; Helm release ns/fleet"},
		"labels of a Kustomization": {func(r *v1alpha1.Rollout) {
			r.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "k", "kustomize.toolkit.fluxcd.io/namespace": "ns"}
		}, nil, "Flux Kustomization ns/k"},
		"labels of a HelmRelease": {func(r *v1alpha1.Rollout) {
			r.Labels = map[string]string{"helm.toolkit.fluxcd.io/name": "h", "helm.toolkit.fluxcd.io/namespace": "ns"}
			r.Annotations = map[string]string{"meta.helm.sh/release-name": "h"}
		}, nil, "Flux HelmRelease ns/h"},
		"a tracking id": {func(r *v1alpha1.Rollout) {
			r.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "app:goshawk.dev/Rollout:fleet/x"}
		}, nil, "Argo CD Application app"},
		"a label that many tools set": {func(r *v1alpha1.Rollout) { r.Labels = map[string]string{"app.kubernetes.io/instance": "app"} }, nil, ""},
		"the same label on what Argo applies": {func(r *v1alpha1.Rollout) {
			r.Labels = map[string]string{"app.kubernetes.io/instance": "app"}
			r.ManagedFields = append(r.ManagedFields, entry("argocd-application-controller", "", `{"f:spec":{"f:update":{}}}`))
		}, nil, "Argo CD Application app"},
	}
	for name, tc := range tests {
		r := objects.Rollout("r", "s", tc.edit)
		var fields []Field
		for _, path := range tc.fields {
			fields = append(fields, Field{Path: path})
		}
		var got []string
		for _, o := range OwnersOf(r, fields) {
			got = append(got, o.Tool+" "+o.Field)
		}
		for _, o := range OriginsOf(r) {
			got = append(got, o.Tool+" "+o.Object)
		}
		if strings.Join(got, "; ") != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// Every operation of a rollout is refused while it is deleted, and every one but a stop after it
// was stopped.
func TestOperationsOnARolloutThatEnds(t *testing.T) {
	operations := map[string]func(*v1alpha1.Rollout) (*Change, error){
		"approve":  func(r *v1alpha1.Rollout) (*Change, error) { return Approve(r, "x") },
		"withdraw": WithdrawApproval, "start": Start, "pause": Pause,
		"resume":  func(r *v1alpha1.Rollout) (*Change, error) { return Resume(r, noon) },
		"retry":   func(r *v1alpha1.Rollout) (*Change, error) { return Retry(r, nil, nil, noon) },
		"advance": func(r *v1alpha1.Rollout) (*Change, error) { return Advance(r, "", noon) },
		"stop":    func(r *v1alpha1.Rollout) (*Change, error) { return Stop(r, "") },
	}
	now := metav1.NewTime(noon)
	ends := map[string]func(*v1alpha1.Rollout){
		"is being deleted": func(r *v1alpha1.Rollout) { r.DeletionTimestamp = &now },
		"was stopped": func(r *v1alpha1.Rollout) {
			r.Spec.State, r.Status.State = v1alpha1.IntentStopped, v1alpha1.RolloutStopped
			r.Status.Stop = &v1alpha1.StopStatus{Cancellation: v1alpha1.CancellationSoft}
		},
		"was stopped already": func(r *v1alpha1.Rollout) { // by the invalidation of its set
			r.Status.State = v1alpha1.RolloutStopping
		},
		"has finished": func(r *v1alpha1.Rollout) { r.Status.State = v1alpha1.RolloutFinished },
	}
	for end, edit := range ends {
		for name, operate := range operations {
			c, err := operate(started(edit))
			if end == "has finished" && name == "retry" { // a retry sets a finished rollout to Running
				if err != nil || !slices.Contains(c.Effect, "The rollout is Running again.") {
					t.Errorf("%s of a rollout that %s: %v", name, end, err)
				}
				continue
			}
			if end == "was stopped already" && name == "stop" {
				continue // TestStopAfterAStop has it
			}
			if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(end, " already")) {
				t.Errorf("%s of a rollout that %s: %v", name, end, err)
			}
		}
	}
}

// A stop after a stop is possible as long as it changes something.
func TestStopAfterAStop(t *testing.T) {
	with := func(inProgress int32, state v1alpha1.RolloutState, edits ...func(*v1alpha1.Rollout)) *v1alpha1.Rollout {
		return started(append(edits, func(r *v1alpha1.Rollout) {
			r.Status.State, r.Status.Targets = state, &v1alpha1.Counts{Targets: 3, InProgress: inProgress, Canceled: 3 - inProgress}
		})...)
	}
	none, soft, force := v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce
	stopping, stopped := v1alpha1.RolloutStopping, v1alpha1.RolloutStopped
	for name, tc := range map[string]struct {
		rollout *v1alpha1.Rollout
		kind    v1alpha1.Cancellation
		// says is a part of the effect, or of the refusal.
		says    string
		refused bool
		fields  string
		forced  bool
	}{
		"a stronger type while devices are asked":               {with(2, stopping, stoppedWith(soft)), force, "closed at once: 2 in progress", false, "spec.stopCancellation", true},
		"a stronger type while devices refuse or finish":        {with(1, stopped, stoppedWith(soft)), force, "closed at once: 1 in progress", false, "spec.stopCancellation", true},
		"asking devices that were to finish":                    {with(1, stopped, stoppedWith(none)), soft, "asked to cancel", false, "spec.stopCancellation", false},
		"a stronger type when all devices have ended":           {with(0, stopped, stoppedWith(soft)), force, "no device is in progress", true, "", false},
		"the same type again":                                   {with(2, stopping, stoppedWith(soft)), soft, "stopped with Soft already", true, "", false},
		"the same type when all devices have ended":             {with(0, stopped, stoppedWith(force)), force, "no device is in progress", true, "", false},
		"after an invalidation, with Force":                     {with(2, stopping), force, "closed at once: 2 in progress", false, "spec.state spec.stopCancellation", true},
		"after an invalidation, with Force for refusing ones":   {with(1, stopped), force, "closed at once: 1 in progress", false, "spec.state spec.stopCancellation", true},
		"after an invalidation, with a weaker type":             {with(2, stopping), none, "the type of the invalidation applies: 2 in progress", false, "spec.state spec.stopCancellation", false},
		"after an invalidation when all devices have ended":     {with(0, stopped), soft, "no longer Stalled", false, "spec.state", false},
		"after an invalidation, with Force, without devices":    {with(0, stopped), force, "No device is in progress", false, "spec.state spec.stopCancellation", false},
		"after an invalidation and a stop in the spec by Git":   {with(0, stopped, func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentStopped }), "", "no device is in progress", true, "", false},
		"after an invalidation with a type that does not exist": {with(2, stopping), "Hard", `there is no type "Hard"`, true, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Stop(tc.rollout, tc.kind)
			if tc.refused {
				if err == nil || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("the refusal is %v, want %q", err, tc.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var fields []string
			for _, f := range c.Fields {
				fields = append(fields, f.Path)
			}
			if got := strings.Join(fields, " "); got != tc.fields || c.Forced != tc.forced || c.Targets != tc.rollout.Status.Targets.InProgress || !strings.Contains(strings.Join(c.Effect, " "), tc.says) {
				t.Errorf("%q, forced %t, %d targets: %q", got, c.Forced, c.Targets, c.Effect)
			}
		})
	}
}

func TestManifestURL(t *testing.T) {
	for name, tc := range map[string]struct {
		value  string
		isUsed bool
	}{
		"a page that edits the file": {"https://forge.example/fleet/edit/main/rollouts/firmware-2-1.yaml?mr=1#L7", true},
		"http":                       {"http://forge.internal/fleet", true},
		"none":                       {"", false},
		"a program":                  {"javascript:alert(1)", false},
		"a relative path":            {"rollouts/firmware-2-1.yaml", false},
		"no host":                    {"https:///fleet", false},
		"a URL of ssh":               {"ssh://git@forge.example/fleet.git", false},
		"credentials":                {"https://robot:secret@forge.example/fleet", false},
		"two lines":                  {"https://forge.example/\nrun this", false},
		"a blank":                    {"https://forge.example/a b", false},
		"letters that look alike":    {"https://fоrge.example/", false},
		"too long":                   {"https://forge.example/" + strings.Repeat("a", 2048), false},
	} {
		t.Run(name, func(t *testing.T) {
			want := ""
			if tc.isUsed {
				want = tc.value
			}
			r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"goshawk.dev/manifest-url": tc.value}}}
			if got := ManifestURLOf(r); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
