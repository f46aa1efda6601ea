// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

type software = v1alpha1.InventorySoftware

func app(version string) software {
	return software{Group: "org.example", Name: "app", Version: version}
}

func feature(id string) v1alpha1.InventoryFeature {
	return v1alpha1.InventoryFeature{ID: id, SoftwareModuleType: "software", Definition: "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0"}
}

// one is a change of one entry of the feature app.
func one(isRemoved bool, entry software) Report {
	return Report{Feature: feature("app"), Edits: []Edit{{Removed: isRemoved, Entry: entry}}}
}

func batch(reports ...Report) *Batch {
	var b Batch
	for _, r := range reports {
		b = b.Add(r)
	}
	return &b
}

func applied(s *v1alpha1.TargetInventoryStatus, reports ...Report) *v1alpha1.TargetInventoryStatus {
	next := s.DeepCopy()
	batch(reports...).Apply(next, Cause{}, noon)
	return next
}

func installed(s *v1alpha1.TargetInventoryStatus) string {
	var names []string
	for _, e := range s.Installed {
		names = append(names, fmt.Sprintf("%s/%s:%s(%s)", e.Feature, e.Name, e.Version, e.Type))
	}
	return strings.Join(names, " ")
}

func TestReportsOfADevice(t *testing.T) {
	first := Report{Feature: feature("app"), Installed: []software{app("2"), {Name: "lib", Version: "1", Type: "lib"}, app("2")}}
	for _, c := range []struct {
		name    string
		reports [][]Report
		want    string
	}{
		{"the list is sorted, each entry is once there, and has the type of its feature", [][]Report{{first}}, "app/lib:1(lib) app/app:2(software)"},
		{"a new list replaces the old one", [][]Report{{first}, {{Feature: v1alpha1.InventoryFeature{ID: "app"}, Installed: []software{app("3")}}}}, "app/app:3(software)"},
		{"an empty list removes all entries", [][]Report{{first}, {{Feature: feature("app"), Installed: []software{}}}}, ""},
		{"a feature that is replaced with lastOperation null and no list keeps its entries", [][]Report{{first}, {{Feature: feature("app"), ReplacesAll: true}}}, "app/lib:1(lib) app/app:2(software)"},
		{"a report of another feature keeps the entries", [][]Report{{first}, {{Feature: feature("os"), Installed: []software{{Name: "linux", Version: "6"}}}}}, "app/lib:1(lib) app/app:2(software) os/linux:6(software)"},
		{"a feature that is removed loses its entries", [][]Report{{first}, {{Feature: feature("app"), Removed: true}}}, ""},
		{"a feature that is removed and comes back without a list has none", [][]Report{{first}, {{Feature: feature("app"), Removed: true}, {Feature: feature("app")}}}, ""},
		{"a thing that is replaced loses the features that are not reported again", [][]Report{
			{first, {Feature: feature("os"), Installed: []software{{Name: "linux", Version: "6"}}}}, {{Feature: feature("app"), ReplacesAll: true}},
		}, "app/lib:1(lib) app/app:2(software)"},
		{"a thing that is replaced without features has none", [][]Report{{first}, {{ReplacesAll: true}}}, ""},
		{"the software in attributes stays when the thing is replaced", [][]Report{{{Installed: []software{app("1")}}}, {{Feature: feature("app"), ReplacesAll: true}}}, "/app:1()"},
		{"reports in one batch are applied in order", [][]Report{{first, {Feature: feature("app"), Installed: []software{app("9")}}, {Feature: feature("app")}}}, "app/app:9(software)"},
		{"an entry without a name is left out", [][]Report{{{Feature: feature("app"), Installed: []software{{Group: "g", Version: "1"}, app("1")}}}}, "app/app:1(software)"},
		{"an entry that is added stands beside the others", [][]Report{{first}, {one(false, app("3"))}}, "app/lib:1(lib) app/app:2(software) app/app:3(software)"},
		{"an entry that is added again has its new type", [][]Report{{first}, {one(false, software{Group: "org.example", Name: "app", Version: "2", Type: "image"})}}, "app/lib:1(lib) app/app:2(image)"},
		{"an entry is removed by its key, wherever the group ends", [][]Report{{first}, {one(true, software{Group: "org", Name: "example.app", Version: "2"})}}, "app/lib:1(lib)"},
		{"an entry without a group is removed", [][]Report{{first}, {one(true, software{Name: "lib", Version: "1"})}}, "app/app:2(software)"},
		{"another version is not removed", [][]Report{{first}, {one(true, app("3"))}}, "app/lib:1(lib) app/app:2(software)"},
		{"an entry that is added and removed is gone", [][]Report{{first}, {one(false, app("3"))}, {one(true, app("3"))}}, "app/lib:1(lib) app/app:2(software)"},
		{"an entry that is removed and added is there", [][]Report{{first}, {one(true, app("2")), one(false, app("2"))}}, "app/lib:1(lib) app/app:2(software)"},
		{"a new list replaces entries that were added", [][]Report{{first}, {one(false, app("3"))}, {{Feature: feature("app"), Installed: []software{app("4")}}}}, "app/app:4(software)"},
		{"a list and changes of its entries in one report", [][]Report{{{Feature: feature("app"), Installed: []software{app("4")}, Edits: []Edit{{Entry: app("5")}, {Removed: true, Entry: app("4")}}}}}, "app/app:5(software)"},
		{"entries that are added one by one, without a list", [][]Report{{one(false, app("1"))}, {one(false, app("2"))}}, "app/app:1(software) app/app:2(software)"},
		{"a change of one feature keeps the same entry of another", [][]Report{{first, {Feature: feature("os"), Installed: []software{app("2")}}}, {one(true, app("2"))}}, "app/lib:1(lib) os/app:2(software)"},
		{"a feature that is removed loses entries that were added", [][]Report{{first}, {one(false, app("3"))}, {{Feature: feature("app"), Removed: true}}}, ""},
		{"an entry of the context is no software", [][]Report{{first}, {{Feature: feature("app"), Edits: []Edit{{Context: true, Entry: app("3")}, {Context: true, Removed: true, Entry: app("2")}}}}}, "app/lib:1(lib) app/app:2(software)"},
		{"an entry without a name is not added", [][]Report{{first}, {one(false, software{Group: "g", Version: "1"})}}, "app/lib:1(lib) app/app:2(software)"},
		{"control characters are removed", [][]Report{{{Feature: feature("a\x00pp"), Installed: []software{{Name: "a\x1bb\n c", Version: "1\x00"}}}}}, "app/ab c:1(software)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, together := &v1alpha1.TargetInventoryStatus{}, Batch{}
			for _, reports := range c.reports {
				s = applied(s, reports...)
				together = together.Followed(*batch(reports...))
			}
			if got := installed(s); got != c.want {
				t.Errorf("installed is %q, want %q", got, c.want)
			}
			once := &v1alpha1.TargetInventoryStatus{}
			together.Apply(once, Cause{}, noon)
			if got := installed(once); got != c.want {
				t.Errorf("in one batch installed is %q, want %q", got, c.want)
			}
		})
	}
}

func TestOperationsAreKept(t *testing.T) {
	f := feature("app")
	f.LastOperation = &v1alpha1.InventoryOperation{CorrelationID: "7", Status: "FINISHED_ERROR", Message: "token=abc failed", Progress: new(int32(140)), StatusCode: "17", SoftwareModule: "app:2"}
	f.LastFailedOperation = f.LastOperation
	s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: f})
	s = applied(s, Report{Feature: feature("app"), ReplacesAll: true})
	o := s.Features[0].LastOperation
	if o == nil || o.Status != "FINISHED_ERROR" || *o.Progress != 100 || o.StatusCode != "17" || o.SoftwareModule != "app:2" || s.Features[0].LastFailedOperation == nil {
		t.Fatalf("the operation is %+v", o)
	}
	if strings.Contains(o.Message, "abc") {
		t.Errorf("the message has a secret: %s", o.Message)
	}
	if batch(Report{Feature: f}).Effect(facts(s)).Changes {
		t.Error("an end that is stored is a change")
	}
	f.LastOperation = &v1alpha1.InventoryOperation{CorrelationID: "8", Status: "DOWNLOADING"}
	if b := batch(Report{Feature: f}); b.Effect(facts(s)).Changes || b.Progress().IsEmpty() {
		t.Error("progress is a change, or is forgotten")
	}
	f.LastOperation = &v1alpha1.InventoryOperation{CorrelationID: "8", Status: "FINISHED_SUCCESS"}
	if !batch(Report{Feature: f}).Effect(facts(s)).Changes {
		t.Error("the end of an operation is not seen")
	}
}

func TestUnchangedReportIsNoChange(t *testing.T) {
	report := Report{Feature: feature("app"), Installed: []software{app("2"), app("1")}, Context: []software{{Name: "cpu", Version: "arm64", Type: "hw-part"}}}
	s := applied(&v1alpha1.TargetInventoryStatus{}, report)
	for name, f := range map[string]Facts{"full": facts(s), "compressed": compressed(s)} {
		slices.Reverse(report.Installed)
		if batch(report).Effect(f).Changes {
			t.Errorf("%s: the same report is a change", name)
		}
		for what, changed := range map[string]Report{
			"another version":    {Feature: feature("app"), Installed: []software{app("2"), app("3")}},
			"no context":         {Feature: feature("app"), Context: []software{}},
			"another feature":    {Feature: feature("os")},
			"another definition": {Feature: v1alpha1.InventoryFeature{ID: "app", Definition: "x:SoftwareUpdatable:1.0.0"}},
			"a removed feature":  {Feature: feature("app"), Removed: true},
		} {
			if !batch(changed).Effect(f).Changes {
				t.Errorf("%s: %s is no change", name, what)
			}
		}
	}
}

func TestHashNamesTheContents(t *testing.T) {
	report := func(list ...software) *v1alpha1.TargetInventoryStatus {
		return applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: feature("app"), Installed: list})
	}
	hashes := map[string]string{}
	for _, c := range [][]software{
		{}, {app("1")}, {app("2")}, {app("1"), app("2")}, {{Name: "a", Version: "bc"}}, {{Name: "ab", Version: "c"}}, {{Group: "a", Name: "b"}}, {{Name: "b", Type: "a"}},
		{{Name: `a","version":"1`}}, {{Name: "a", Version: "1"}}, {{Name: "a"}, {Name: "b"}}, {{Name: "a\",\"name\":\"b"}},
	} {
		s := report(c...)
		if other, known := hashes[s.ContentsHash]; known || len(s.ContentsHash) != 64 {
			t.Errorf("%q has hash %q, as %q", installed(s), s.ContentsHash, other)
		}
		hashes[s.ContentsHash] = installed(s)
	}
	if a, b := report(app("1"), app("2")), report(app("2"), app("1"), app("1")); a.ContentsHash != b.ContentsHash {
		t.Error("the order changes the hash")
	}
	if s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: feature("app")}); s.ContentsHash != "" {
		t.Error("a feature that has not reported its software has a hash")
	}
	if s := report(many(600)...); s.ContentsHash != "" || s.Truncated != 88 {
		t.Errorf("a truncated list has hash %q; %d entries are missing", s.ContentsHash, s.Truncated)
	}
}

// owner is the Target of every inventory.
var owner = &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{UID: "u"}}

func facts(s *v1alpha1.TargetInventoryStatus) Facts {
	o := &v1alpha1.TargetInventory{Status: *s.DeepCopy()}
	o.Status.TargetUID = "u"
	return FactsOf(owner, o)
}

func compressed(s *v1alpha1.TargetInventoryStatus) Facts {
	f := facts(s)
	f.object.Compress()
	f.object.Compress() // as the caches do with the first list
	return f
}

func many(n int) []software {
	list := make([]software, n)
	for i := range list {
		list[i] = software{Name: fmt.Sprintf("lib%04d", i), Version: "1"}
	}
	return list
}

func TestTruncationIsForgottenWithANewList(t *testing.T) {
	s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: feature("app"), Installed: many(600)})
	if !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionTruncated) || s.Features[0].TruncatedInstalled != 88 {
		t.Fatalf("conditions are %+v", s.Conditions)
	}
	if s = applied(s, Report{Feature: feature("app"), Context: []software{{Name: "cpu"}}}); s.ContentsHash != "" || s.Truncated != 89 {
		t.Errorf("a context list makes the truncated software complete: %d are missing", s.Truncated)
	}
	if s = applied(s, Report{Feature: feature("app"), Installed: many(3)}); s.ContentsHash == "" || s.Truncated != 1 {
		t.Errorf("%d are missing after a short list", s.Truncated)
	}
	s = applied(s, Report{Feature: feature("app"), Context: []software{}})
	if s.Truncated != 0 || meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionTruncated) != nil {
		t.Errorf("%d are missing in the end", s.Truncated)
	}
}

// A device that adds one entry after the other does not know what did not fit, so the number is
// that of one list and does not grow with each report.
func TestEntriesThatAreAddedStayWithinTheLimits(t *testing.T) {
	s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: feature("app"), Installed: many(512)})
	add := Report{Feature: feature("app"), Edits: []Edit{{Entry: app("1")}, {Entry: software{Name: strings.Repeat("x", 300)}}}}
	for range 3 {
		s = applied(s, add)
		checkSize(t, s)
		if s.Truncated != 2 || s.ContentsHash != "" {
			t.Fatalf("%d entries are missing", s.Truncated)
		}
		if batch(add).Effect(facts(s)).Changes || batch(add).Effect(compressed(s)).Changes {
			t.Fatal("the same report is a change")
		}
	}
	remove := Report{Feature: feature("app")}
	for _, e := range s.Installed[:100] {
		remove.Edits = append(remove.Edits, Edit{Removed: true, Entry: e})
	}
	if s = applied(s, remove); len(s.Installed) != 412 || s.Truncated != 2 || s.ContentsHash != "" {
		t.Errorf("after a removal %d entries are there, and %d missing", len(s.Installed), s.Truncated)
	}
	if s = applied(s, Report{Feature: feature("app"), Installed: many(3)}); s.Truncated != 0 || s.ContentsHash == "" {
		t.Errorf("after a short list %d are missing", s.Truncated)
	}
}

func TestHistoryOfEntriesThatAreAdded(t *testing.T) {
	s := applied(&v1alpha1.TargetInventoryStatus{}, one(false, app("1")))
	if len(s.History) != 0 || s.Features[0].InstalledReported || s.ContentsHash == "" {
		t.Fatalf("after the first entry the status is %+v", s)
	}
	s = applied(s, one(false, app("2")), one(true, app("1")))
	if len(s.History) != 1 || len(s.History[0].Added) != 1 || s.History[0].Added[0].Version != "2" || len(s.History[0].Removed) != 1 {
		t.Errorf("the history is %+v", s.History)
	}
	if FactsOf(&v1alpha1.Target{}, &v1alpha1.TargetInventory{Status: *s}).IsComplete() {
		t.Error("entries without a list count as all software of the device")
	}
}

func TestHistory(t *testing.T) {
	s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: feature("app"), Installed: []software{app("1")}})
	if len(s.History) != 0 {
		t.Fatalf("the first report is in the history: %+v", s.History)
	}
	cause := Cause{ActionID: 7, Source: v1alpha1.InventorySource{Kind: v1alpha1.SourceRollout, Name: "r"}}
	batch(Report{Feature: feature("app"), Installed: []software{app("2")}}).Apply(s, cause, noon)
	typed := func(version string) software {
		e := app(version)
		e.Feature, e.Type = "app", "software"
		return e
	}
	want := []v1alpha1.InventoryChange{{Time: metav1.NewTime(noon), ActionID: 7, Source: &cause.Source, Added: []software{typed("2")}, Removed: []software{typed("1")}}}
	if diff := cmp.Diff(want, s.History); diff != "" {
		t.Error(diff)
	}
	if s = applied(s, Report{Feature: feature("app"), Context: []software{{Name: "cpu"}}}); len(s.History) != 1 {
		t.Error("a context entry is in the history")
	}
	for i := range 60 {
		s = applied(s, Report{Feature: feature("app"), Installed: []software{app(fmt.Sprint(i))}})
	}
	if newest := s.History[len(s.History)-1]; len(s.History) != v1alpha1.MaxInventoryHistory || newest.Added[0].Version != "59" || newest.Source != nil {
		t.Errorf("%d changes, the newest is %+v", len(s.History), newest)
	}
	if s = applied(s, Report{Feature: feature("app"), Installed: many(512)}); s.History[len(s.History)-1].Omitted == 0 {
		t.Error("nothing says that the change is larger")
	}
}

func TestCauseOfAChange(t *testing.T) {
	at := func(before time.Duration) *metav1.Time { return new(metav1.NewTime(noon.Add(-before))) }
	a := func(id int32, state v1alpha1.ActionState, closed *metav1.Time) v1alpha1.Action {
		return v1alpha1.Action{ID: id, State: state, ClosedAt: closed, Source: v1alpha1.ActionSource{Kind: v1alpha1.SourceRollout, Name: "r"}}
	}
	for _, c := range []struct {
		name    string
		actions []v1alpha1.Action
		want    int32
	}{
		{"no action", nil, 0},
		{"an open action", []v1alpha1.Action{a(1, v1alpha1.ActionFinished, at(time.Minute)), a(2, v1alpha1.ActionRunning, nil)}, 2},
		{"an action that waits for confirmation has changed nothing", []v1alpha1.Action{a(2, v1alpha1.ActionWaitingForConfirmation, nil)}, 0},
		{"an action that has just finished", []v1alpha1.Action{a(1, v1alpha1.ActionFinished, at(time.Minute)), a(2, v1alpha1.ActionError, at(time.Second))}, 2},
		{"an action that finished long ago", []v1alpha1.Action{a(1, v1alpha1.ActionFinished, at(time.Hour))}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := CauseOf(&v1alpha1.TargetStatus{Actions: c.actions}, noon); got.ActionID != c.want {
				t.Errorf("the cause is %d, want %d", got.ActionID, c.want)
			}
		})
	}
}

func TestDefinitions(t *testing.T) {
	for definition, want := range map[string]bool{
		"": true, "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:2.0.0": true, "x:SoftwareUpdatable:2": true, "x:SoftwareUpdatable:2.7.1": true, "SoftwareUpdatable": true,
		"org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:1.0.0": false, "x:SoftwareUpdatable:3.0.0": false, "x:SoftwareUpdatable:1": false,
	} {
		if got := IsSupported(definition); got != want {
			t.Errorf("%q is supported: %t", definition, got)
		}
	}
	f := feature("old")
	f.Definition = "org.eclipse.hawkbit.swupdatable:SoftwareUpdatable:1.0.0"
	s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: f}, Report{Feature: feature("app")})
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionUnsupportedDefinition); c == nil || !strings.Contains(c.Message, "old (org.eclipse") || meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("conditions are %+v", s.Conditions)
	}
	s = applied(s, Report{Feature: feature("old")})
	if len(s.Conditions) != 1 || !meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionReady) {
		t.Errorf("conditions are %+v", s.Conditions)
	}
}

func TestSoftwareInAttributes(t *testing.T) {
	attributes := map[string]v1alpha1.AttributeValue{"sw.org.example.app": "1.2", "sw.kernel": "6.1", "sw.": "x", "hw": "B", "swx": "1", "sw.trailing.": "3", "sw.a.b": ""}
	want := []software{{Name: "kernel", Version: "6.1"}, {Name: "trailing.", Version: "3"}, {Group: "a", Name: "b"}, {Group: "org.example", Name: "app", Version: "1.2"}}
	if diff := cmp.Diff(want, FromAttributes("sw.", attributes)); diff != "" {
		t.Error(diff)
	}
	if none := FromAttributes("", attributes); none == nil || len(none) != 0 {
		t.Errorf("without a prefix: %v", none)
	}
}

func TestFacts(t *testing.T) {
	var none Facts
	if none.IsComplete() || none.Has("org.example", "app", "1") || none.Fingerprint() != 0 || none.Features() != nil {
		t.Error("something is known of nothing")
	}
	s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: feature("app"), Installed: []software{app("1")}, Context: []software{{Name: "cpu"}}})
	for name, f := range map[string]Facts{"full": facts(s), "compressed": compressed(s)} {
		if !f.IsComplete() || !f.Has("org.example", "app", "1") || f.Has("org.example", "app", "2") || f.Has("", "app", "1") || f.Has("", "cpu", "") || f.Fingerprint() != facts(s).Fingerprint() {
			t.Errorf("%s: the facts are wrong", name)
		}
	}
	if facts(applied(s, Report{Feature: feature("os")})).IsComplete() {
		t.Error("a feature has not reported its software, and the inventory counts as complete")
	}
	o := &v1alpha1.TargetInventory{Status: *s, Unreadable: &v1alpha1.Unreadable{Fields: []string{"status.installed"}}}
	o.Status.TargetUID = "u"
	if FactsOf(owner, o) != none {
		t.Error("something is known of lists that cannot be decoded")
	}
	if o.Unreadable = nil; FactsOf(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{UID: "v"}}, o) != none {
		t.Error("the inventory of an earlier Target counts")
	}
}

// hostile returns reports with texts of the largest size: long, with many bytes for each character,
// and with characters that JSON escapes.
func hostile(random *rand.Rand) Report {
	alphabets := []string{"a", "\u20ac", "\U0001F600", "<", "&", `"`, `\`, "\u2028", "\x00", "é"}
	word := func(limit int) string {
		a := alphabets[random.IntN(len(alphabets))]
		n := []int{0, 1, limit - 4, limit, limit, limit, limit + 1}[random.IntN(7)]
		return strings.Repeat(a, max(0, n-4)) + fmt.Sprint(random.IntN(9000))
	}
	entries := func() []software {
		n := []int{0, 1, 200, 512, 513, 2000}[random.IntN(6)]
		if random.IntN(4) == 0 {
			return nil
		}
		list := make([]software, n)
		for i := range list {
			list[i] = software{Group: word(maxName), Name: word(maxName), Version: word(maxVersion), Type: word(maxWord)}
		}
		return list
	}
	operation := func() *v1alpha1.InventoryOperation {
		return &v1alpha1.InventoryOperation{CorrelationID: word(maxWord), Status: word(maxWord), Message: word(9999), StatusCode: word(maxWord), SoftwareModule: word(999), Software: entries(), Progress: new(random.Int32())}
	}
	r := Report{
		Feature:   v1alpha1.InventoryFeature{ID: word(maxFeature) + fmt.Sprint(random.IntN(20)), SoftwareModuleType: word(maxWord), Definition: word(maxDefinition), LastOperation: operation(), LastFailedOperation: operation()},
		Installed: entries(), Context: entries(), Removed: random.IntN(20) == 0, ReplacesAll: random.IntN(50) == 0,
	}
	for _, e := range entries() {
		r.Edits = append(r.Edits, Edit{Context: random.IntN(2) == 0, Removed: random.IntN(2) == 0, Entry: e})
	}
	if random.IntN(5) == 0 {
		attributes, bytes := map[string]v1alpha1.AttributeValue{}, 0
		for len(attributes) < v1alpha1.MaxAttributes && bytes < v1alpha1.MaxAttributeBytes {
			key, value := fmt.Sprintf("sw.%.100s.%d", word(100), len(attributes)), word(60)
			attributes[key], bytes = v1alpha1.AttributeValue(value), bytes+len(key)+len(value)
		}
		r = Report{Installed: FromAttributes("sw.", attributes)}
	}
	return r
}

func TestInventoryIsNeverAboveItsSize(t *testing.T) {
	for seed := range uint64(4) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := &v1alpha1.TargetInventoryStatus{}
		for range 10 {
			b := batch(hostile(random), hostile(random))
			again := s.DeepCopy()
			b.Apply(s, CauseOf(&v1alpha1.TargetStatus{}, noon), noon)
			b.Apply(again, Cause{}, noon)
			if !reflect.DeepEqual(s, again) {
				t.Fatalf("seed %d: the same reports gave two results", seed)
			}
			checkSize(t, s)
			if b.Effect(facts(s)).Changes || b.Effect(compressed(s)).Changes {
				t.Fatalf("seed %d: the same reports are a change again", seed)
			}
		}
	}
}

func TestFeaturesShareTheRoom(t *testing.T) {
	s := applied(&v1alpha1.TargetInventoryStatus{}, Report{Feature: feature("a"), Installed: many(300)})
	s = applied(s, Report{Feature: feature("b"), Installed: many(400), Context: many(10)})
	checkSize(t, s)
	if len(s.Installed) != 512 || s.Features[0].TruncatedInstalled != 0 || s.Features[1].TruncatedInstalled != 188 || s.Features[1].TruncatedContext != 10 {
		t.Errorf("%d installed, features %+v", len(s.Installed), s.Features)
	}
	s = applied(s, Report{Installed: many(5)}) // attributes go first
	if checkSize(t, s); s.Truncated != 203 || s.Installed[4].Feature != "" {
		t.Errorf("with attributes %d entries do not fit", s.Truncated)
	}
}

func TestHistoryIsNeverAboveItsSize(t *testing.T) {
	s := &v1alpha1.TargetInventoryStatus{}
	for i := range 30 {
		list := many(40)
		for j := range list {
			list[j].Group, list[j].Version = strings.Repeat("<", 100), fmt.Sprint(i)
		}
		s = applied(s, Report{Feature: feature("app"), Installed: list})
		checkSize(t, s)
	}
	if n := len(s.History); n < 7 || n > 10 || s.History[n-1].Omitted == 0 {
		t.Errorf("the history has %d changes", n)
	}
}

func checkSize(t *testing.T, s *v1alpha1.TargetInventoryStatus) {
	t.Helper()
	bytes := func(v any) int {
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return len(encoded)
	}
	if n := len(s.Installed) + len(s.Context); n > v1alpha1.MaxInventoryEntries {
		t.Fatalf("%d entries", n)
	}
	if n := bytes(s.Installed) + bytes(s.Context); n > v1alpha1.MaxInventoryBytes+4 {
		t.Fatalf("the entries take %d bytes", n)
	}
	if n := bytes(s.History); n > v1alpha1.MaxInventoryHistoryBytes+2 || len(s.History) > v1alpha1.MaxInventoryHistory {
		t.Fatalf("the history of %d changes takes %d bytes", len(s.History), n)
	}
	if n := bytes(s); n > 256<<10 || len(s.Features) > v1alpha1.MaxInventoryFeatures {
		t.Fatalf("the status with %d features takes %d bytes", len(s.Features), n)
	}
	for _, list := range [][]software{s.Installed, s.Context} {
		if !slices.IsSortedFunc(list, compare) || len(slices.Compact(slices.Clone(list))) != len(list) {
			t.Fatal("a list is not sorted, or has an entry twice")
		}
		for _, e := range list {
			if utf8.RuneCountInString(e.Name) > maxName || utf8.RuneCountInString(e.Group) > maxName || utf8.RuneCountInString(e.Version) > maxVersion || utf8.RuneCountInString(e.Type) > maxWord || e.Name == "" {
				t.Fatalf("the schema refuses %+v", e)
			}
		}
	}
	for i := range s.Features {
		for _, o := range []*v1alpha1.InventoryOperation{s.Features[i].LastOperation, s.Features[i].LastFailedOperation} {
			if o != nil && (bytes(o) > v1alpha1.MaxInventoryOperationBytes || utf8.RuneCountInString(o.Message) > maxMessage || len(o.Software) > maxSoftware) {
				t.Fatalf("an operation takes %d bytes", bytes(o))
			}
		}
	}
}
