// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var noon = metav1.Date(2026, time.May, 4, 12, 0, 0, 0, time.UTC)

// gateway returns a target with a value in each field that an expression can use.
func gateway() *v1alpha1.Target {
	seen := metav1.NewTime(noon.Add(time.Hour))
	return &v1alpha1.Target{
		ObjectMeta: metav1.ObjectMeta{
			Name: "gw-1", CreationTimestamp: noon,
			Labels: map[string]string{"site": "ulm", "example.com/ring": "early"},
		},
		Spec: v1alpha1.TargetSpec{
			ControllerID: "SN:1", Name: "Gate 1", Description: "by the device API", Address: "hall 3", Type: "gateway", Hold: true,
		},
		Status: v1alpha1.TargetStatus{
			UpdateStatus: v1alpha1.UpdateStatusInSync,
			Installed:    &v1alpha1.InstalledSet{DistributionSet: "fw-1", ContentHash: "abc"},
			LastSeen:     &seen,
			Attributes:   map[string]v1alpha1.AttributeValue{"hw": "B", "os.version": "6.1", "tags": "beta,lab"},
			Conditions:   []metav1.Condition{{Type: v1alpha1.ConditionConsistent, Status: metav1.ConditionFalse}},
		},
	}
}

func expressionOf(text string) v1alpha1.Selection { return v1alpha1.Selection{TargetExpression: text} }

func mustCompile(t testing.TB, sel v1alpha1.Selection) *Query {
	t.Helper()
	q, err := Compile(sel, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestEveryFieldIsSeen evaluates, for each field, an expression for the value of the gateway and
// one for an empty target. Each expression is true for exactly one of them.
func TestEveryFieldIsSeen(t *testing.T) {
	bare := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "bare", CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour))}}
	expressions := map[string]struct{ ofGateway, ofBare string }{
		"name":                      {`target.name == "gw-1"`, `target.name == "bare"`},
		"controllerID":              {`target.controllerID == "SN:1"`, `target.controllerID == "bare"`},
		"description":               {`target.description.contains("device")`, `target.description == ""`},
		"address":                   {`target.address == "hall 3"`, `!has(target.address)`},
		"type":                      {`target.type in ["gateway", "router"]`, `!has(target.type)`},
		"labels":                    {`target.labels["example.com/ring"] == "early"`, `!("site" in target.labels)`},
		"labels by field":           {`target.labels.site == "ulm"`, `!has(target.labels.site)`},
		"attributes":                {`target.attributes["hw"] == "B"`, `!("hw" in target.attributes)`},
		"a part of an attribute":    {`int(target.attributes["os.version"].split(".")[0]) >= 6`, `target.attributes.size() == 0`},
		"attributes with a list":    {`target.attributes["tags"].split(",").exists(tag, tag == "lab")`, `!has(target.attributes)`},
		"updateStatus":              {`target.updateStatus == "InSync"`, `target.updateStatus != "InSync"`},
		"inconsistent":              {`target.inconsistent`, `!target.inconsistent`},
		"installed":                 {`has(target.installed)`, `!has(target.installed)`},
		"installed.distributionSet": {`target.installed.distributionSet == "fw-1"`, `target.installed.distributionSet != "fw-1"`},
		"installed.contentHash":     {`target.installed.contentHash == "abc"`, `target.installed.contentHash == ""`},
		"hold":                      {`target.hold`, `!target.hold`},
		"lastSeen":                  {`target.lastSeen > timestamp("2026-05-04T12:30:00Z")`, `!has(target.lastSeen)`},
		"createdAt":                 {`target.createdAt == timestamp("2026-05-04T12:00:00Z")`, `target.createdAt.getHours() == 11`},
	}
	for name, q := range expressions {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				text    string
				yes, no *v1alpha1.Target
			}{{q.ofGateway, gateway(), bare}, {q.ofBare, bare, gateway()}} {
				query := mustCompile(t, expressionOf(c.text))
				if !query.Matches(c.yes) {
					t.Errorf("%s does not match %s", c.text, c.yes.Name)
				}
				if query.Matches(c.no) {
					t.Errorf("%s matches %s", c.text, c.no.Name)
				}
			}
		})
	}
	for name := range fields[targetType.TypeName()] {
		if _, tested := expressions[name]; !tested && name != "software" && name != "context" { // see TestSelectionBySoftware
			t.Errorf("field %s is not tested", name)
		}
	}
}

func TestEvaluationErrorsDoNotMatch(t *testing.T) {
	bare := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"an attribute never reported":                 {`target.attributes["hw"] == "B"`, false},
		"an attribute never reported, negated":        {`!(target.attributes["hw"] == "B")`, false},
		"an attribute never reported, guarded":        {`!("hw" in target.attributes) || target.attributes["hw"] != "B"`, true},
		"an attribute never reported, or another way": {`target.attributes["hw"] == "B" || target.name == "bare"`, true},
		"lastSeen of a target without contact":        {`target.lastSeen < timestamp("2100-01-01T00:00:00Z")`, false},
		"not a number":                                {`int(target.name) > 0`, false},
		"a division by zero":                          {`1 / target.labels.size() == 1`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mustCompile(t, expressionOf(c.text)).Matches(bare); got != c.want {
				t.Errorf("%s is %t, want %t", c.text, got, c.want)
			}
		})
	}
}

func TestSelector(t *testing.T) {
	where := func(key string, op v1alpha1.LabelSelectorOperator, values ...v1alpha1.LabelValue) *v1alpha1.TargetSelector {
		return &v1alpha1.TargetSelector{MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	for name, c := range map[string]struct {
		sel  *v1alpha1.TargetSelector
		want bool
	}{
		"no selector matches all targets":        {nil, true},
		"an empty selector matches all targets":  {&v1alpha1.TargetSelector{}, true},
		"a label that is there":                  {&v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "ulm"}}, true},
		"one of two labels differs":              {&v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "ulm", "example.com/ring": "late"}}, false},
		"In":                                     {where("site", "In", "bonn", "ulm"), true},
		"In without the value":                   {where("site", "In", "bonn"), false},
		"NotIn without the value":                {where("site", "NotIn", "bonn"), true},
		"NotIn holds where the label is missing": {where("floor", "NotIn", "1"), true},
		"Exists":                                 {where("example.com/ring", "Exists"), true},
		"DoesNotExist":                           {where("example.com/ring", "DoesNotExist"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mustCompile(t, v1alpha1.Selection{TargetSelector: c.sel}).Matches(gateway()); got != c.want {
				t.Errorf("matches is %t, want %t", got, c.want)
			}
		})
	}
}

func TestSelectorAndExpressionMustBothHold(t *testing.T) {
	site := func(name v1alpha1.LabelValue) *v1alpha1.TargetSelector {
		return &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": name}}
	}
	for name, c := range map[string]struct {
		sel  v1alpha1.Selection
		want bool
	}{
		"both":             {v1alpha1.Selection{TargetSelector: site("ulm"), TargetExpression: "target.hold"}, true},
		"selector alone":   {v1alpha1.Selection{TargetSelector: site("ulm"), TargetExpression: "!target.hold"}, false},
		"expression alone": {v1alpha1.Selection{TargetSelector: site("bonn"), TargetExpression: "target.hold"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mustCompile(t, c.sel).Matches(gateway()); got != c.want {
				t.Errorf("matches is %t, want %t", got, c.want)
			}
		})
	}
}

func TestErrorsNameFieldPositionAndFix(t *testing.T) {
	const known = "target has address, attributes, context, controllerID, createdAt, description, hold, inconsistent, installed, labels, lastSeen, name, software, type, updateStatus; " +
		"target.installed has contentHash, distributionSet; an entry of target.software or target.context has feature, group, name, type, version"
	const onlyTarget = `the only variable is target, as in target.labels["site"]; there is no clock, so that plans are reproducible`
	for name, c := range map[string]struct{ text, want string }{
		"a misspelt field":                          {`target.lables["site"] == "ulm"`, "targetExpression, line 1, column 7: undefined field 'lables': " + known},
		"a misspelt field, line three":              {"target.hold ||\n  target.inconsistent ||\n  target.installed.set == 'fw'", "targetExpression, line 3, column 19: undefined field 'set': " + known},
		"the first of two":                          {`target.b && target.a`, "targetExpression, line 1, column 7: undefined field 'b': " + known},
		"without target":                            {`labels["site"] == "ulm"`, "targetExpression, line 1, column 1: undeclared reference to 'labels': " + onlyTarget},
		"a clock":                                   {`target.lastSeen < now()`, "targetExpression, line 1, column 22: undeclared reference to 'now': " + onlyTarget},
		"dyn, which would hide a wrong field name":  {`dyn(target).lables == "x"`, "targetExpression, line 1, column 4: undeclared reference to 'dyn': " + onlyTarget},
		"format":                                    {`"%s".format([target.name]) == "x"`, "targetExpression, line 1, column 12: undeclared reference to 'format': " + onlyTarget},
		"unfinished":                                {`target.name ==`, "targetExpression, line 1, column 15: Syntax error: mismatched input '<EOF>': write it as in target.attributes[\"hw\"] == \"B\" && !target.inconsistent"},
		"a string and a number":                     {`target.attributes["hw"] == 1`, "targetExpression, line 1, column 25: found no matching overload for '_==_' applied to '(string, int)': both sides must be of the same type, and labels and attributes are strings"},
		"no boolean":                                {`target.type`, "targetExpression: the result is a string, but must be true or false: compare it with a value, as in target.type == \"gateway\""},
		"an invalid pattern":                        {`target.name.matches("(")`, "targetExpression, line 1, column 21: invalid matches argument: it is not a regular expression in RE2 syntax"},
		"an invalid time":                           {`target.lastSeen > timestamp("yesterday")`, "targetExpression, line 1, column 29: invalid timestamp argument: write it as in timestamp(\"2026-12-01T02:00:00Z\")"},
		"an invalid duration":                       {`target.lastSeen - target.createdAt > duration("1 day")`, "targetExpression, line 1, column 47: invalid duration argument: write it as in duration(\"36h\")"},
		"an object literal":                         {`goshawk.Target{name: "x"}.name == "x"`, "targetExpression: it creates an object, but may only read target: remove the part in braces"},
		"three loops":                               {`target.labels.exists(a, target.labels.exists(b, target.labels.exists(c, a == c)))`, "targetExpression, line 1, column 69: comprehension exceeds nesting limit: write at most 2 of exists, all, filter and map within or after each other"},
		"a string that grows exponentially":         {`target.name` + strings.Repeat(`.replace("a", "aaaaaaaaaaaaaaaa")`, 20) + ` == "a"`, "targetExpression: it could take too long for one target with the largest labels, attributes and lists of software: look keys up instead of going through all of them, go through a list once, or put the answer into a label"},
		"a loop in a loop with regular expressions": {`target.labels.all(k, target.attributes.exists(a, target.attributes[a].matches(target.labels[k])))`, "targetExpression: it could take too long for one target with the largest labels, attributes and lists of software: look keys up instead of going through all of them, go through a list once, or put the answer into a label"},
		"too long":                                  {`target.name == "` + strings.Repeat("x", 1024) + `"`, "targetExpression: it has 1041 characters, the maximum is 1024: move a part of the selection to labels and targetSelector"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(expressionOf(c.text), nil)
			if err == nil {
				t.Fatal("compiles")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelectorErrorsNameTheRequirement(t *testing.T) {
	second := func(r v1alpha1.TargetSelectorRequirement) *v1alpha1.TargetSelector {
		return &v1alpha1.TargetSelector{MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: "site", Operator: "Exists"}, r}}
	}
	for name, c := range map[string]struct {
		sel  *v1alpha1.TargetSelector
		want string
	}{
		"In without values":   {second(v1alpha1.TargetSelectorRequirement{Key: "ring", Operator: "In"}), "targetSelector.matchExpressions[1]: operator In needs values: add values, or use Exists or DoesNotExist"},
		"Exists with values":  {second(v1alpha1.TargetSelectorRequirement{Key: "ring", Operator: "Exists", Values: []v1alpha1.LabelValue{"x"}}), "targetSelector.matchExpressions[1]: operator Exists has no values: remove values, or use In or NotIn"},
		"an unknown operator": {second(v1alpha1.TargetSelectorRequirement{Key: "ring", Operator: "Gt"}), `targetSelector.matchExpressions[1]: operator "Gt" is unknown: use In, NotIn, Exists or DoesNotExist`},
		"an invalid key":      {second(v1alpha1.TargetSelectorRequirement{Key: "a b", Operator: "Exists"}), `targetSelector.matchExpressions[1]: key "a b" is not a label key: `},
		"an invalid value":    {second(v1alpha1.TargetSelectorRequirement{Key: "ring", Operator: "In", Values: []v1alpha1.LabelValue{"ok", "a b"}}), `targetSelector.matchExpressions[1]: value "a b" is not a label value: `},
		"an invalid label":    {&v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"ring": "-"}}, `targetSelector.matchLabels["ring"]: value "-" is not a label value: `},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(v1alpha1.Selection{TargetSelector: c.sel}, nil)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("error is %v, want it to start with %s", err, c.want)
			}
		})
	}
}

func TestSameSelectionSameString(t *testing.T) {
	ab := v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{
		MatchLabels:      map[string]v1alpha1.LabelValue{"a": "1", "b": "2"},
		MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: "c", Operator: "In", Values: []v1alpha1.LabelValue{"x", "y"}}},
	}, TargetExpression: "target.hold"}
	ba := v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{
		MatchExpressions: []v1alpha1.TargetSelectorRequirement{{Key: "c", Operator: "In", Values: []v1alpha1.LabelValue{"y", "x"}}, {Key: "b", Operator: "In", Values: []v1alpha1.LabelValue{"2"}}},
		MatchLabels:      map[string]v1alpha1.LabelValue{"a": "1"},
	}, TargetExpression: " target.hold\n"}
	other := ab
	other.TargetExpression = "!target.hold"
	one, two, three := mustCompile(t, ab).String(), mustCompile(t, ba).String(), mustCompile(t, other).String()
	if one != two {
		t.Errorf("%q and %q are the same", one, two)
	}
	if one == three {
		t.Errorf("%q is ambiguous", one)
	}
	if all := mustCompile(t, v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{}}); all.String() != "" || !all.Matches(&v1alpha1.Target{}) {
		t.Errorf("an empty selection is %q, want the empty string and every target", all)
	}
}

func TestConcurrentUse(t *testing.T) {
	q := mustCompile(t, expressionOf(`target.attributes["hw"] == "B" && target.labels.exists(k, target.labels[k] == "ulm")`))
	yes, no := gateway(), &v1alpha1.Target{}
	var wrong sync.Map
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for range 200 {
				if !q.Matches(yes) || q.Matches(no) {
					wrong.Store(worker, true)
				}
			}
		})
	}
	all.Wait()
	wrong.Range(func(worker, _ any) bool {
		t.Errorf("worker %v got a wrong result", worker)
		return true
	})
}

func BenchmarkMatches(b *testing.B) {
	target := gateway()
	target.Status.Conditions = nil
	for name, sel := range map[string]v1alpha1.Selection{
		"selector":   {TargetSelector: &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "ulm", "example.com/ring": "early"}}},
		"expression": expressionOf(`target.attributes["hw"] == "B" && !target.inconsistent`),
		"loop":       expressionOf(`target.labels.exists(k, target.labels[k] == "early")`),
	} {
		b.Run(name, func(b *testing.B) {
			q := mustCompile(b, sel)
			if !q.Matches(target) {
				b.Fatal("does not match")
			}
			b.ReportAllocs()
			for b.Loop() {
				q.Matches(target)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	sel := expressionOf(`target.attributes["hw"] == "B" && !target.inconsistent`)
	mustCompile(b, sel)
	for b.Loop() {
		mustCompile(b, sel)
	}
}
