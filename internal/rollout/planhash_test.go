package rollout

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func hashedGroups() []PlannedGroup {
	conditions := v1alpha1.GroupConditions{SuccessThreshold: 50, SuccessAction: "NextGroup", ErrorThreshold: 50, ErrorAction: "Pause"}
	return []PlannedGroup{{"group-1", conditions, []string{"a", "bc"}}, {"group-2", conditions, []string{"d"}}}
}

// TestPlanHashStaysWhatItIs: an approval is written down in Git, so the same plan must have the same hash in every version.
func TestPlanHashStaysWhatItIs(t *testing.T) {
	const want = "sha256:20b68dc0508051593f5bdca77043d6ce7ae46f53e6e587f784be967c973c2c4d"
	if got := PlanHash("c0ffee", "5bec", hashedGroups()); got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
}

func TestPlanHashSeesEveryDifference(t *testing.T) {
	seen := map[string]string{PlanHash("c0ffee", "5bec", hashedGroups()): "the plan as it was"}
	for name, change := range map[string]func([]PlannedGroup) []PlannedGroup{
		"a target more":       func(g []PlannedGroup) []PlannedGroup { g[1].Targets = []string{"d", "e"}; return g },
		"an empty group more": func(g []PlannedGroup) []PlannedGroup { return append(g, PlannedGroup{Name: "group-3"}) },
		"a target moved to the next group": func(g []PlannedGroup) []PlannedGroup {
			g[0].Targets, g[1].Targets = []string{"a"}, []string{"bc", "d"}
			return g
		},
		"letters moved between targets":     func(g []PlannedGroup) []PlannedGroup { g[0].Targets = []string{"ab", "c"}; return g },
		"the other order of targets":        func(g []PlannedGroup) []PlannedGroup { g[0].Targets = []string{"bc", "a"}; return g },
		"the other order of groups":         func(g []PlannedGroup) []PlannedGroup { g[0], g[1] = g[1], g[0]; return g },
		"another name of a group":           func(g []PlannedGroup) []PlannedGroup { g[0].Name = "canary"; return g },
		"another success threshold":         func(g []PlannedGroup) []PlannedGroup { g[0].Conditions.SuccessThreshold = 51; return g },
		"another success action":            func(g []PlannedGroup) []PlannedGroup { g[0].Conditions.SuccessAction = "Pause"; return g },
		"another error threshold":           func(g []PlannedGroup) []PlannedGroup { g[0].Conditions.ErrorThreshold = 51; return g },
		"another error action":              func(g []PlannedGroup) []PlannedGroup { g[0].Conditions.ErrorAction = ""; return g },
		"confirmation":                      func(g []PlannedGroup) []PlannedGroup { g[0].Conditions.ConfirmationRequired = true; return g },
		"the conditions of the other group": func(g []PlannedGroup) []PlannedGroup { g[1].Conditions.SuccessThreshold = 51; return g },
	} {
		hash := PlanHash("c0ffee", "5bec", change(hashedGroups()))
		if other, twice := seen[hash]; twice {
			t.Errorf("%s has the hash of %s", name, other)
		}
		seen[hash] = name
	}
	if _, twice := seen[PlanHash("c0ffee", "0ther", hashedGroups())]; twice {
		t.Error("another spec of the same groups has the same hash: its approval would survive the edit")
	}
	if _, twice := seen[PlanHash("decaf", "5bec", hashedGroups())]; twice {
		t.Error("another content of the set has the same hash")
	}
}

// TestSpecHash changes every field of the spec. A field that is new in the schema fails until somebody decides where it belongs.
func TestSpecHash(t *testing.T) {
	one, soon := int32(1), metav1.NewTime(time.Unix(1, 0))
	makesANewPlan := map[string]func(*v1alpha1.RolloutSpec){
		"Update":           func(s *v1alpha1.RolloutSpec) { s.Update.DistributionSet = "fw-3" },
		"Selection":        func(s *v1alpha1.RolloutSpec) { s.TargetExpression = "target.hold" },
		"GroupCount":       func(s *v1alpha1.RolloutSpec) { s.GroupCount = &one },
		"Groups":           func(s *v1alpha1.RolloutSpec) { s.Groups = []v1alpha1.Group{{Name: "a", SuccessThreshold: &one}} },
		"GroupOrder":       func(s *v1alpha1.RolloutSpec) { s.GroupOrder = v1alpha1.GroupOrderName },
		"SuccessThreshold": func(s *v1alpha1.RolloutSpec) { s.SuccessThreshold = &one },
		"SuccessAction":    func(s *v1alpha1.RolloutSpec) { s.SuccessAction = v1alpha1.SuccessActionPause },
		"ErrorThreshold":   func(s *v1alpha1.RolloutSpec) { s.ErrorThreshold = &one },
		"ErrorAction":      func(s *v1alpha1.RolloutSpec) { s.ErrorAction = v1alpha1.ErrorActionPause },
		"Dynamic":          func(s *v1alpha1.RolloutSpec) { s.Dynamic = &v1alpha1.Dynamic{} },
	}
	keepsThePlan := map[string]func(*v1alpha1.RolloutSpec){
		"MinimumReports":      func(s *v1alpha1.RolloutSpec) { s.MinimumReports = 1 },
		"ErrorBudget":         func(s *v1alpha1.RolloutSpec) { s.ErrorBudget = &v1alpha1.ErrorBudget{Count: &one} },
		"SettleSeconds":       func(s *v1alpha1.RolloutSpec) { s.SettleSeconds = &one },
		"State":               func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPaused },
		"StartAt":             func(s *v1alpha1.RolloutSpec) { s.StartAt = &soon },
		"ApprovalRequired":    func(s *v1alpha1.RolloutSpec) { s.ApprovalRequired = true },
		"Approval":            func(s *v1alpha1.RolloutSpec) { s.Approval = &v1alpha1.Approval{} },
		"ResumedAt":           func(s *v1alpha1.RolloutSpec) { s.ResumedAt = &soon },
		"Advance":             func(s *v1alpha1.RolloutSpec) { s.Advance = &v1alpha1.Advance{} },
		"Retry":               func(s *v1alpha1.RolloutSpec) { s.Retry = &v1alpha1.Retry{} },
		"StopCancelation":     func(s *v1alpha1.RolloutSpec) { s.StopCancelation = v1alpha1.CancelationForce },
		"DeletionCancelation": func(s *v1alpha1.RolloutSpec) { s.DeletionCancelation = v1alpha1.CancelationForce },
	}
	before := SpecHash(&v1alpha1.RolloutSpec{})
	for _, field := range reflect.VisibleFields(reflect.TypeFor[v1alpha1.RolloutSpec]()) {
		if len(field.Index) > 1 {
			continue
		}
		var spec v1alpha1.RolloutSpec
		change, plans := makesANewPlan[field.Name]
		if keep, keeps := keepsThePlan[field.Name]; keeps {
			change = keep
		}
		if change == nil {
			t.Errorf("%s is in neither list: does another %s make another plan?", field.Name, field.Name)
			continue
		}
		change(&spec)
		if changed := SpecHash(&spec) != before; changed != plans {
			t.Errorf("another %s changes the hash: %t, want %t", field.Name, changed, plans)
		}
	}
}
