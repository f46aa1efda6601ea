// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/explain"
	"github.com/goshawk-dev/goshawk/internal/rollout/grouping"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// aWorstDay returns the objects of a rollout that was approved, failed in its first group, was
// paused, and was stopped by the invalidation of its set.
func aWorstDay() []client.Object {
	at := func(d time.Duration) *metav1.Time { t := ago(d); return &t }
	module := objects.SoftwareModule("linux-6-6-1", func(m *v1alpha1.SoftwareModule) {
		m.Spec.Name, m.Spec.Version = "linux", "6.6.1"
		m.Spec.Artifacts = []v1alpha1.Artifact{{FileName: "rootfs.swu", Checksums: v1alpha1.Checksums{SHA256: strings.Repeat("ab", 32)}}}
	})
	set := objects.DistributionSet("firmware-2-1", build.Modules("linux-6-6-1", "app-2-1"), func(s *v1alpha1.DistributionSet) {
		s.Status.ContentHash = "c0ffee"
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce, Reason: "bricks the modem | <b>"}
		s.Status.Invalidation = &v1alpha1.InvalidationStatus{Cancellation: v1alpha1.CancellationForce, Recorded: s.Spec.Invalidation, ObservedAt: at(8 * time.Minute), FinishedAt: at(7 * time.Minute),
			Rollouts: 1, Actions: &v1alpha1.InvalidatedActions{Total: 1, Canceled: 1}}
		s.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionInvalidated, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInvalidatedBySpec,
			Message: "the set was invalidated by spec.invalidation (Force) and cannot become valid again: bricks the modem | <b>; create another DistributionSet"}}
		s.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationUpdate, Time: at(8 * time.Minute), APIVersion: "goshawk.dev/v1alpha1",
			FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:invalidation":{"f:cancellation":{},"f:reason":{}}}}`)}}
	})
	r := aRollout(isRunning, func(r *v1alpha1.Rollout) {
		r.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "fleet:goshawk.dev/Rollout:fleet/firmware-2-1"}
		r.Status.State, r.Status.FinishedAt = v1alpha1.RolloutStopped, microAgo(7*time.Minute)
		r.Status.PauseReason, r.Status.PausedAt = "", nil
		r.Status.Handled = &v1alpha1.HandledRequests{ResumedAt: microAgo(15 * time.Minute)}
		r.Status.Targets = &v1alpha1.Counts{Targets: 30, Succeeded: 3, Failed: 3, Canceled: 23, Removed: 1}
		r.Status.Groups[0].Counts = v1alpha1.Counts{Targets: 10, Succeeded: 3, Failed: 3, Canceled: 3, Removed: 1}
		why := "stopped because DistributionSet firmware-2-1 was invalidated (bricks the modem)"
		r.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonDistributionSetInvalid, Message: why, LastTransitionTime: *at(7 * time.Minute)},
			{Type: v1alpha1.ConditionInvalidated, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonDistributionSetInvalid, Message: why, LastTransitionTime: *at(8 * time.Minute)},
			{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonStopped, Message: why, LastTransitionTime: *at(7 * time.Minute)},
		}
		r.ManagedFields = []metav1.ManagedFieldsEntry{
			{Manager: "argocd-controller", Operation: metav1.ManagedFieldsOperationApply, Time: at(55 * time.Minute), APIVersion: "goshawk.dev/v1alpha1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:state":{},"f:update":{"f:distributionSet":{}}}}`)},
			{Manager: FieldManager, Operation: metav1.ManagedFieldsOperationUpdate, Time: at(45 * time.Minute), APIVersion: "goshawk.dev/v1alpha1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:approval":{".":{},"f:planHash":{}}}}`)},
			{Manager: "goshawk", Operation: metav1.ManagedFieldsOperationUpdate, Time: at(time.Minute), Subresource: "status", APIVersion: "goshawk.dev/v1alpha1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:state":{}}}`)},
		}
	})
	all := []client.Object{module, set, r}
	for i, name := range []string{"canary", "early", "rest"} {
		all = append(all, objects.DeploymentGroup(r, int32(i), func(g *v1alpha1.DeploymentGroup) {
			g.Spec.Group, g.Spec.PlanHash = name, planHash
			g.Spec.Conditions = v1alpha1.GroupConditions{SuccessThreshold: 80, SuccessAction: v1alpha1.SuccessActionPause, ErrorThreshold: 5, ErrorAction: v1alpha1.ErrorActionPause}
			g.Labels = map[string]string{v1alpha1.RolloutLabel: grouping.LabelValue(r.Name)}
			for n := range 10 {
				build.Members(fmt.Sprintf("gw-%d%d", i, n))(g)
			}
		}))
	}
	return append(append(all, worstTargets(r)...), worstEvents(r, set)...)
}

// aRemoval returns a rollout that has removed software from one of three targets.
func aRemoval() []client.Object {
	r := aRollout(isRunning, func(r *v1alpha1.Rollout) {
		r.Spec.Update = v1alpha1.Update{Remove: []v1alpha1.SoftwareReference{{Group: "org.example", Name: "app", Version: "1.2"}}}
		r.Status.Update, r.Status.Targets, r.Status.Groups, r.Status.Failures = "removal of app 1.2", &v1alpha1.Counts{Targets: 3, Succeeded: 1, Failed: 1, InProgress: 1}, r.Status.Groups[:1], nil
		r.Status.Plan.ContentHash = eligibility.RemovalHash(r.Spec.Update.Remove)
		r.Status.Groups[0].Counts = *r.Status.Targets
	})
	group := objects.DeploymentGroup(r, 0, build.Members("gw-00", "gw-01", "gw-02"), func(g *v1alpha1.DeploymentGroup) {
		g.Spec.Group, g.Spec.PlanHash, g.Labels = "canary", planHash, map[string]string{v1alpha1.RolloutLabel: r.Name}
	})
	all := []client.Object{r, group}
	for i, state := range []v1alpha1.ActionState{v1alpha1.ActionFinished, v1alpha1.ActionError, v1alpha1.ActionRemoving} {
		all = append(all, objects.Target(fmt.Sprintf("gw-%02d", i), func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{build.Action(100, "", state, func(a *v1alpha1.Action) {
				a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID, Attempt: 1, Since: r.Status.StartedAt}
				a.ContentHash, a.Removal = r.Status.Plan.ContentHash, "removal of app 1.2"
			})}
		}))
	}
	return all
}

// worstTargets returns the members: in the first group three have succeeded, two failed with a
// code, one without, one was canceled by force, two never started, and one was deleted.
func worstTargets(r *v1alpha1.Rollout) []client.Object {
	var all []client.Object
	for group := range 3 {
		for n := range 10 {
			if group == 0 && n == 9 {
				continue
			}
			all = append(all, objects.Target(fmt.Sprintf("gw-%d%d", group, n), func(t *v1alpha1.Target) {
				if group > 0 || n > 6 {
					return
				}
				closed := ago(time.Duration(20-n) * time.Minute)
				t.Status.Actions = []v1alpha1.Action{build.Action(100, "firmware-2-1", v1alpha1.ActionFinished, func(a *v1alpha1.Action) {
					a.Source = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: r.Name, UID: r.UID, Group: "canary", Attempt: 1, Since: r.Status.StartedAt}
					a.ContentHash, a.ClosedAt = "c0ffee", &closed
					switch {
					case n == 6:
						a.State, a.Cancel = v1alpha1.ActionCanceled, &v1alpha1.CancelStatus{Cause: v1alpha1.CauseInvalidated, Cancellation: v1alpha1.CancellationForce, From: v1alpha1.ActionInstalling}
					case n == 5:
						a.State, a.FailureMessage, a.FailureGroup = v1alpha1.ActionError, "ERROR : 3 blocks are `bad` | <script>", "ERROR : <n> blocks are `bad` | <script>"
					case n > 2:
						a.State, a.StatusCode, a.FailureMessage, a.Source.Attempt = v1alpha1.ActionError, "110", "no space left", 2
						t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonUpdateFailed}}
					}
				})}
			}))
		}
	}
	return all
}

func worstEvents(r *v1alpha1.Rollout, set *v1alpha1.DistributionSet) []client.Object {
	event := func(name string, about client.Object, kind, reason, note string, d time.Duration) client.Object {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: build.Namespace, Name: name}, Reason: reason, Message: note, EventTime: *microAgo(d),
			InvolvedObject: corev1.ObjectReference{Kind: kind, Name: about.GetName(), UID: about.GetUID()}}
	}
	return []client.Object{
		event("e1", r, "Rollout", "Paused", "group canary went into Error when 3 of 10 had failed, more than errorThreshold 5 percent", 18*time.Minute),
		event("e2", r, "Rollout", "Resumed", "spec.resumedAt lifted the pause", 15*time.Minute),
		event("e3", set, "DistributionSet", "Invalidated", "cancellation Force, affects 1 rollout and 0 auto-assignments", 8*time.Minute),
		event("e4", &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "firmware-2-1", UID: "uid-of-an-earlier-one"}}, "Rollout", "Finished", "an earlier rollout of this name", 30*time.Minute),
	}
}

func TestReport(t *testing.T) {
	tests := map[string]struct {
		objects []client.Object
		args    string
	}{
		"worst-day":      {aWorstDay(), ""},
		"worst-day-json": {aWorstDay(), "-o json"},
		"no-plan":        {[]client.Object{objects.Rollout("firmware-2-1", "firmware-2-1")}, ""},
		"removal":        {aRemoval(), ""},
		"to-be-approved": {[]client.Object{aRollout(), objects.DistributionSet("firmware-2-1")}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"report", "firmware-2-1"}, strings.Fields(tc.args)...)
			got := newWorld(t, tc.objects...).run(args...)
			if got.code != 0 || got.errOut != "" {
				t.Fatalf("code %d, %s", got.code, got.errOut)
			}
			golden(t, "report/"+name+".txt", got.out)
			shuffled := slices.Clone(tc.objects)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			w := newWorld(t, shuffled...)
			w.now = noon.Add(time.Hour)
			if again := w.run(args...); again.out != got.out {
				t.Errorf("the report of the same objects an hour later is\n%s", again.out)
			}
		})
	}
}

func TestReportListsFailedTargetsUpToALimit(t *testing.T) {
	r := aRollout(isRunning)
	group := objects.DeploymentGroup(r, 0, func(g *v1alpha1.DeploymentGroup) {
		g.Spec.Group, g.Spec.PlanHash, g.Labels = "canary", planHash, map[string]string{v1alpha1.RolloutLabel: r.Name}
	})
	all := []client.Object{r, group}
	for n := range maxFailed + 10 {
		target := objects.Target(fmt.Sprintf("gw-%03d", n), func(t *v1alpha1.Target) {
			t.Status.Actions = []v1alpha1.Action{build.Action(100, "firmware-2-1", v1alpha1.ActionError, func(a *v1alpha1.Action) {
				a.Source, a.StatusCode = v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, UID: r.UID, Attempt: 1, Since: r.Status.StartedAt}, "110"
			})}
		})
		build.Members(target.Name)(group)
		all = append(all, target)
	}
	w := newWorld(t, all...)
	for args, want := range map[string]int{"": maxFailed, "--all": maxFailed + 10} {
		report := w.report(t, strings.Fields(args)...)
		if len(report.Failed) != want || report.FailedTotal != maxFailed+10 || report.Results[0].Count != maxFailed+10 {
			t.Errorf("%s: %d of %d failed targets are listed, and the results are %+v", args, len(report.Failed), report.FailedTotal, report.Results)
		}
	}
	if got := w.run("report", "firmware-2-1").out; !strings.Contains(got, "50 of 60 failed targets are listed; --all lists all.") {
		t.Error(got)
	}
}

// report returns the report as a program reads it.
func (w *world) report(t *testing.T, args ...string) *explain.Report {
	t.Helper()
	got := w.run(append([]string{"report", "firmware-2-1", "-o", "json"}, args...)...)
	report := &explain.Report{}
	if err := json.Unmarshal([]byte(got.out), report); err != nil {
		t.Fatalf("code %d, %s%v", got.code, got.errOut, err)
	}
	return report
}

func TestReportSurvivesTheDeletionOfTheRollout(t *testing.T) {
	w := newWorld(t, aWorstDay()...)
	live := w.run("report", "firmware-2-1", "--archive")
	if live.code != 0 || !strings.Contains(live.errOut, "archived in ConfigMap fleet/goshawk-report-firmware-2-1-") {
		t.Fatalf("code %d, %s", live.code, live.errOut)
	}
	archives := &corev1.ConfigMapList{}
	if err := w.client.List(t.Context(), archives); err != nil || len(archives.Items) != 1 {
		t.Fatalf("%d ConfigMaps, %v", len(archives.Items), err)
	}
	archive := archives.Items[0]
	if len(archive.OwnerReferences)+len(archive.Finalizers) != 0 || archive.Labels[v1alpha1.ReportLabel] != "firmware-2-1" || archive.Annotations["argocd.argoproj.io/tracking-id"] != "" {
		t.Errorf("the ConfigMap is %+v", archive.ObjectMeta)
	}

	w.now = noon.Add(time.Hour)
	if again := w.run("report", "firmware-2-1", "--archive"); again.code != 0 {
		t.Errorf("archiving again: %s", again.errOut)
	}
	r := w.rollout()
	if err := w.client.Delete(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	archived := w.run("report", "firmware-2-1")
	if archived.code != 0 {
		t.Fatalf("after the deletion: code %d, %s", archived.code, archived.errOut)
	}
	want := strings.Replace(live.out, "# Rollout fleet/firmware-2-1\n", "# Rollout fleet/firmware-2-1\n\nThis is the report that was archived at 2026-06-01T13:00:00Z. It may be older than the end of the rollout.\n", 1)
	if archived.out != want {
		t.Errorf("the archived report is\n%s\nwant\n%s", archived.out, want)
	}
	if got := w.run("report", "firmware-2-1", "--archive"); got.code != CodeError || !strings.Contains(got.errOut, "its report is archived already") {
		t.Errorf("archiving an archived report: code %d, %s", got.code, got.errOut)
	}
	if got := w.run("report", "firmware-2-0"); got.code != CodeNotFound || !strings.Contains(got.errOut, "there is no archived report of it either") {
		t.Errorf("a rollout without a report: code %d, %s", got.code, got.errOut)
	}

	// A rollout of the same name is another one, with a report of its own.
	next := aRollout()
	next.UID, next.Status.UID = "uid-next", "uid-next"
	if err := w.client.Create(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if report := w.report(t); report.UID != "uid-next" || report.ArchivedAt != nil {
		t.Errorf("the report of the new rollout has UID %s, archived %v", report.UID, report.ArchivedAt)
	}
	w.now = noon.Add(2 * time.Hour)
	if got := w.run("report", "firmware-2-1", "--archive"); got.code != 0 {
		t.Fatal(got.errOut)
	}
	if report := w.report(t, "--uid", string(r.UID)); report.UID != string(r.UID) || report.ArchivedAt == nil {
		t.Errorf("the report of the old rollout has UID %s, archived %v", report.UID, report.ArchivedAt)
	}
	if got := w.run("report", "firmware-2-1", "--uid", "unknown"); got.code != CodeNotFound || !strings.Contains(got.errOut, "no rollout fleet/firmware-2-1 has the UID unknown") {
		t.Errorf("an unknown UID: code %d, %s", got.code, got.errOut)
	}
}

func TestArchiveFitsIntoAConfigMap(t *testing.T) {
	report := &explain.Report{Namespace: build.Namespace, Rollout: "firmware-2-1", UID: "uid", Spec: v1alpha1.RolloutSpec{}}
	random := rand.New(rand.NewPCG(1, 2))
	for failed, want := range map[int]string{10: "plain", 9000: "compressed", 60_000: "shortened"} {
		report.Failed = nil
		for n := range failed {
			report.Failed = append(report.Failed, explain.ReportFailure{Target: fmt.Sprintf("gw-%06d", n), Message: fmt.Sprintf("%x%x%x", random.Uint64(), random.Uint64(), random.Uint64())})
		}
		report.FailedTotal = failed
		o, leftOut, err := archiveOf(report, noon)
		if err != nil {
			t.Fatal(err)
		}
		size := len(o.Data[archiveKey]) + len(o.BinaryData[compressedKey])
		form := "plain"
		switch {
		case leftOut > 0:
			form = "shortened"
		case len(o.Data) == 0:
			form = "compressed"
		}
		if form != want || size > maxArchive {
			t.Errorf("%d failed targets: %s, %d bytes, want %s and at most %d", failed, form, size, want, maxArchive)
		}
		read, err := reportIn(o)
		if err != nil {
			t.Fatalf("%d failed targets: %v", failed, err)
		}
		if len(read.Failed)+leftOut != failed || read.FailedTotal != failed {
			t.Errorf("%d failed targets: the archive has %d of %d", failed, len(read.Failed), read.FailedTotal)
		}
	}
	report.Failed, report.Gaps = nil, []string{}
	for range 60_000 {
		report.Gaps = append(report.Gaps, fmt.Sprintf("%x%x%x", random.Uint64(), random.Uint64(), random.Uint64()))
	}
	if _, _, err := archiveOf(report, noon); err == nil || !strings.Contains(err.Error(), "a ConfigMap holds at most 1 MiB") {
		t.Errorf("a report that does not fit: %v", err)
	}
}

func TestArchiveOverwritesNoOtherConfigMap(t *testing.T) {
	other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: build.Namespace, Name: archiveName("firmware-2-1", "uid-firmware-2-1")}, Data: map[string]string{"precious": "yes"}}
	w := newWorld(t, append(aWorstDay(), other)...)
	if got := w.run("report", "firmware-2-1", "--archive"); got.code != CodeError || got.out != "" || !strings.Contains(got.errOut, "exists and is no report of this rollout") {
		t.Errorf("code %d, %s", got.code, got.errOut)
	}
	long := strings.Repeat("a", 253)
	if name := archiveName(long, "uid"); len(name) > 253 || archiveName(long, "other") == name {
		t.Errorf("the name for a long name is %s", name)
	}
}

func TestArchiveThatCannotBeRead(t *testing.T) {
	for name, edit := range map[string]func(*corev1.ConfigMap){
		"no key":         func(c *corev1.ConfigMap) { c.Data = nil },
		"no JSON":        func(c *corev1.ConfigMap) { c.Data = map[string]string{archiveKey: "{"} },
		"not compressed": func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{compressedKey: []byte("plain")} },
		"another JSON":   func(c *corev1.ConfigMap) { c.Data = map[string]string{archiveKey: "{}"} },
	} {
		o, _, err := archiveOf(&explain.Report{Namespace: build.Namespace, Rollout: "firmware-2-1", UID: "uid"}, noon)
		if err != nil {
			t.Fatal(err)
		}
		edit(o)
		if got := newWorld(t, o).run("report", "firmware-2-1"); got.code != CodeError || got.out != "" || !strings.Contains(got.errOut, "has no report that can be read") {
			t.Errorf("%s: code %d, %s", name, got.code, got.errOut)
		}
	}
}

func TestReportWithoutTheRightToReadEvents(t *testing.T) {
	w := newWorld(t, aWorstDay()...)
	w.client = interceptor.NewClient(w.client, interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if _, ok := list.(*corev1.EventList); ok {
			return apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "", errorText("no right"))
		}
		return c.List(ctx, list, opts...)
	}})
	report := w.report(t)
	if !slices.ContainsFunc(report.Gaps, func(gap string) bool {
		return strings.HasPrefix(gap, "Events about firmware-2-1 could not be read: events is forbidden")
	}) {
		t.Errorf("the gaps are %q", report.Gaps)
	}
	if slices.ContainsFunc(report.Decisions, func(d explain.Decision) bool { return d.Source == "event" }) || len(report.Decisions) == 0 {
		t.Errorf("the decisions are %+v", report.Decisions)
	}
}
