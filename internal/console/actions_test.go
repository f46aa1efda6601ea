// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"html/template"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/operation"
)

func TestActionsOfAnObject(t *testing.T) {
	frame := newRenderer().frame
	stopped := func(r *v1alpha1.Rollout) {
		r.Spec.State, r.Status.State, r.Status.Targets = v1alpha1.IntentStopped, v1alpha1.RolloutStopped, &v1alpha1.Counts{Targets: 2, Canceled: 1}
	}
	for name, tc := range map[string]struct {
		object client.Object
		want   []string
	}{
		"a rollout that is planned": {objects.Rollout("r", "s", func(r *v1alpha1.Rollout) { r.Spec.State = v1alpha1.IntentPlanned }),
			[]string{`<a class="button" href="/actions/rollouts/fleet/r/start">Start…</a>`, `<a class="button danger" href="/actions/rollouts/fleet/r/stop">Stop…</a>`,
				"Other actions are not possible now", "<dt>Pause</dt><dd>spec.state is Planned, which starts no device</dd>"}},
		"a target":           {objects.Target("t"), []string{`href="/actions/targets/fleet/t/hold">Hold…</a>`, "<dt>Release</dt><dd>spec.hold is false already</dd>"}},
		"a set":              {objects.DistributionSet("s"), []string{`<a class="button danger" href="/actions/sets/fleet/s/invalidate">Invalidate…</a>`}},
		"an auto-assignment": {objects.AutoAssignment("a", "s"), []string{`href="/actions/autoassignments/fleet/a/pause">Pause…</a>`}},
		"an invalid set": {objects.DistributionSet("s", func(s *v1alpha1.DistributionSet) {
			s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationSoft, Reason: "<script>"}
		}), []string{"No action is possible now", "it was invalidated with Soft (&lt;script&gt;)"}},
		"a stopped rollout with a device in progress": {objects.Rollout("r", "s", stopped, func(r *v1alpha1.Rollout) { r.Status.Targets.InProgress = 1 }),
			[]string{`<a class="button danger" href="/actions/rollouts/fleet/r/stop">Cancel more firmly…</a>`}},
		"a stopped rollout": {objects.Rollout("r", "s", stopped), []string{"No action is possible now", "<dt>Cancel more firmly</dt><dd>it was stopped with Soft already, and no device is in progress</dd>"}},
		"a rollout that an invalidation has stopped": {objects.Rollout("r", "s", stopped, func(r *v1alpha1.Rollout) { r.Spec.State = "" }),
			[]string{`<a class="button" href="/actions/rollouts/fleet/r/stop">Set spec.state to Stopped…</a>`}},
		"a hostile name": {objects.Target("../x?y#\"<b>"), []string{`href="/actions/targets/fleet/..%2Fx%3Fy%23%22%3Cb%3E/hold"`}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			page := template.Must(template.Must(frame.Clone()).New("p").Parse(`{{template "actions" actions .}}`))
			if err := page.Execute(&out, tc.object); err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("lacks %s:\n%s", want, out.String())
				}
			}
		})
	}
	if got := actionsOf(objects.Target("t", func(t *v1alpha1.Target) { t.Unreadable = &v1alpha1.Unreadable{} })); len(got.Possible)+len(got.Others) > 0 {
		t.Errorf("an object that cannot be decoded has %+v", got)
	}
}

func TestEachActionHasALabel(t *testing.T) {
	for _, object := range []client.Object{&v1alpha1.Rollout{}, &v1alpha1.AutoAssignment{}, &v1alpha1.Target{}, &v1alpha1.DistributionSet{}} {
		for _, verb := range operation.VerbsOf(object) {
			if verbLabels[verb] == "" {
				t.Errorf("%s has no label", verb)
			}
		}
	}
}
