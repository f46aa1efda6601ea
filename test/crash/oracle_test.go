package crash

import (
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// The invariants find what they are there for: each history breaks one of them, and a sound one breaks none.
func TestInvariantsFindBreaches(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		history []moment
		want    string
	}{
		"a sound rollout":                          {history: historyOf(roll("", 1, 0), born("dev-0", 1, "first"), closed("dev-0", 1, v1alpha1.ActionFinished), roll("", 2, 1), born("dev-1", 1, "second"), closed("dev-1", 1, v1alpha1.ActionFinished), roll("", 2, 2))},
		"an invalid set is begun":                  {want: "S2", history: historyOf(roll("", 1, 0), invalidSet(), born("dev-0", 1, "first"))},
		"an action in a group that is not open":    {want: "S3", history: historyOf(roll("", 1, 0), born("dev-1", 1, "second"))},
		"a group opens before the one before it":   {want: "S3", history: historyOf(roll("", 1, 0), roll("", 2, 0))},
		"an action while an error threshold holds": {want: "S4", history: historyOf(roll("", 1, 0), roll(v1alpha1.PauseByErrorThreshold, 1, 0), born("dev-0", 1, "first"))},
		"an action is born twice":                  {want: "S5", history: historyOf(roll("", 1, 0), born("dev-0", 1, "first"), born("dev-0", 2, "first"))},
		"a closed action goes on": {want: "S7", history: historyOf(roll("", 1, 0), born("dev-0", 1, "first"), closed("dev-0", 1, v1alpha1.ActionCanceled),
			closed("dev-0", 1, v1alpha1.ActionFinished))},
		"a group that had opened is closed again":       {want: "S7", history: historyOf(roll("", 1, 0), roll("", 0, 0))},
		"what a rollout counts is not what targets say": {want: "S8", history: historyOf(roll("", 1, 1))},
	} {
		t.Run(name, func(t *testing.T) {
			h := &truth{moments: c.history}
			found := strings.Join(h.problems(map[string]map[int32]bool{"dev-0": {1: true, 2: true}, "dev-1": {1: true}}), "\n")
			if c.want == "" && found != "" || !strings.Contains(found, c.want+":") && c.want != "" {
				t.Errorf("want %q, found:\n%s", c.want, found)
			}
		})
	}
}

// historyOf begins with a set, two targets, and a rollout of two groups of one target each. Each rollout in it counts what it says and no more.
func historyOf(states ...any) []moment {
	all := []any{
		&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "set"}}, target("dev-0"), target("dev-1"), group("first", 0, "dev-0"), group("second", 1, "dev-1"), roll("", 0, 0),
	}
	var out []moment
	for i, o := range append(all, states...) {
		m := moment{revision: uint64(i)}
		switch o := o.(type) {
		case *v1alpha1.DistributionSet:
			m.object = o
		case *v1alpha1.Target:
			m.object = o
		case *v1alpha1.DeploymentGroup:
			m.object = o
		case *v1alpha1.Rollout:
			m.object = o
		}
		out = append(out, m)
	}
	return out
}

func target(name string, actions ...v1alpha1.Action) *v1alpha1.Target {
	return &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.TargetStatus{Actions: actions}}
}

func born(name string, id int32, group string) *v1alpha1.Target {
	return target(name, v1alpha1.Action{ID: id, DistributionSet: "set", State: v1alpha1.ActionRetrieved, Source: v1alpha1.ActionSource{Name: "roll", UID: "roll", Group: group}})
}

func closed(name string, id int32, state v1alpha1.ActionState) *v1alpha1.Target {
	t := born(name, id, "first")
	t.Status.Actions[0].State = state
	return t
}

func invalidSet() *v1alpha1.DistributionSet {
	return &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "set"},
		Status: v1alpha1.DistributionSetStatus{Invalidation: &v1alpha1.InvalidationStatus{Cancelation: v1alpha1.CancelationForce}}}
}

func group(name string, index int32, member v1alpha1.TargetName) *v1alpha1.DeploymentGroup {
	return &v1alpha1.DeploymentGroup{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.DeploymentGroupSpec{RolloutUID: "roll", Group: name, Index: index, Targets: []v1alpha1.TargetName{member}}}
}

// roll is the rollout with so many groups open, of whose targets so many have succeeded, the first ones.
func roll(pause v1alpha1.PauseReason, opened, succeeded int) *v1alpha1.Rollout {
	at := metav1.Unix(1, 0)
	started := metav1.NewMicroTime(at.Time)
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Name: "roll", UID: "roll"},
		Status: v1alpha1.RolloutStatus{State: v1alpha1.RolloutRunning, StartedAt: &started, PauseReason: pause, Plan: &v1alpha1.PlanStatus{}}}
	for i, name := range []string{"first", "second"} {
		g := v1alpha1.GroupStatus{Name: name, State: v1alpha1.GroupScheduled, Counts: v1alpha1.Counts{Targets: 1}}
		switch {
		case i < succeeded:
			g.Succeeded = 1
		case i < opened:
			g.Pending = 1
		default:
			g.Scheduled = 1
		}
		if i < opened {
			g.State, g.OpenedAt = v1alpha1.GroupRunning, &at
		}
		r.Status.Groups = append(r.Status.Groups, g)
	}
	return r
}

// What users apply is Git's: the wire finds every write to it but Goshawk's own finalizer.
func TestWireFindsWritesToWhatBelongsToGit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method, path, body string
		isOffence          bool
	}{
		"status":                 {http.MethodPatch, "rollouts/roll/status", `{"status":{}}`, false},
		"the finalizer":          {http.MethodPatch, "rollouts/roll", `{"metadata":{"finalizers":["x"],"resourceVersion":"7"}}`, false},
		"a generated group":      {http.MethodPost, "deploymentgroups", `{"metadata":{"name":"roll-first-0a0a"},"spec":{}}`, false},
		"a deletion that is due": {http.MethodDelete, "rollouts/roll", `{}`, false},
		"spec":                   {http.MethodPatch, "rollouts/roll", `{"spec":{"state":"Stopped"}}`, true},
		"labels":                 {http.MethodPatch, "targets/dev-0", `{"metadata":{"labels":{"a":"b"}}}`, true},
		"a whole object":         {http.MethodPut, "distributionsets/set", `{"metadata":{"finalizers":[]},"spec":{}}`, true},
		"a target's deletion":    {http.MethodDelete, "targets/dev-0", `{}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), c.method, "http://127.0.0.1/apis/goshawk.dev/v1alpha1/namespaces/fleet/"+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			what, body, err := describe(r)
			if err != nil {
				t.Fatal(err)
			}
			w := &line{}
			if w.police(what, body); (len(w.offences) > 0) != c.isOffence {
				t.Errorf("%s: offences are %v", what, w.offences)
			}
		})
	}
}
