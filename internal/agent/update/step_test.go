// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package update

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var seeds = flag.Uint64("seeds", 1500, "number of random devices")

// device is a device with handlers that follow a script, and with the truth about its modules.
type device struct {
	random *rand.Rand
	boot   int
	// versions are the versions on the device by type and name; "mixed" is neither old nor new.
	versions map[string]string
	// before are the versions before the update, which a rollback restores.
	before map[string]string
	// fails are the verbs that fail, by type/name and verb; missing are the ones that do not exist.
	fails, missing, reboots, repeatable map[string]bool
	// cannotStart are the calls that fail before anything of the handler runs.
	cannotStart map[string]bool
	calls       []string
}

func key(c *Change) string { return c.Type + "/" + c.Name }

// call runs a handler. With interrupted, the device is killed in the middle of it.
func (d *device) call(c *Change, verb Verb, interrupted bool) StepResult {
	k := key(c)
	d.calls = append(d.calls, string(verb)+" "+k)
	at := k + " " + string(verb)
	if d.missing[at] {
		return StepResult{Missing: true}
	}
	if d.cannotStart[at] {
		return StepResult{Err: at + " cannot be started", NotStarted: true}
	}
	switch verb {
	case Install, Remove:
		if d.versions[k] == "mixed" && !d.repeatable[k] {
			return StepResult{} // this handler does not notice that its second call works on half of a version
		}
		d.versions[k] = "mixed"
	case Rollback:
		if interrupted {
			d.versions[k] = "mixed"
		}
	}
	if interrupted {
		return StepResult{}
	}
	if d.fails[at] {
		return StepResult{Err: at + " failed", Code: "17"}
	}
	switch verb {
	case Install:
		d.versions[k] = c.Version
	case Remove:
		delete(d.versions, k)
	case Rollback:
		if v, ok := d.before[k]; ok {
			d.versions[k] = v
		} else {
			delete(d.versions, k)
		}
	}
	return StepResult{NeedsReboot: d.reboots[at], Repeatable: d.repeatable[k]}
}

// run runs an update to its end on a device that is killed before, in and after steps with the
// given probability, and returns the document at the end.
func (d *device) run(t *testing.T, doc *Document, killed float64) *Document {
	t.Helper()
	now := time.Unix(1000, 0).UTC()
	die := func() bool { return d.random.Float64() < killed }
	for steps := 0; doc.Update != nil; steps++ {
		if steps > 2000 {
			t.Fatalf("no end after %d steps: %+v\n%s", steps, doc.Update, strings.Join(d.calls, "\n"))
		}
		on := Conditions{Boot: fmt.Sprint(d.boot), MayInstall: true}
		step := doc.Next(on)
		switch step.Kind {
		case Nothing:
			t.Fatalf("nothing to do in phase %s", doc.Update.Phase)
		case Reboot:
			d.boot++
			doc = doc.Recover()
		case Advance:
			if next := doc.End(step, StepResult{}, on, now); !die() {
				doc = next
			} else {
				doc = doc.Recover()
			}
		case Call:
			if die() {
				doc = doc.Recover()
				continue
			}
			doc = doc.Start(step)
			interrupted := die()
			result := d.call(&doc.Update.Changes[step.Change], step.Verb, interrupted)
			if interrupted || die() {
				d.boot += d.random.IntN(2)
				doc = doc.Recover()
				continue
			}
			doc = doc.End(step, result, on, now)
		}
	}
	return doc
}

// check compares what the document says with the truth about the device.
func (d *device) check(t *testing.T, doc *Document) {
	t.Helper()
	said := map[string]string{}
	for _, m := range doc.Installed {
		said[m.Type+"/"+m.Name] = m.Version
	}
	if doc.Inconsistency != nil {
		for _, m := range doc.Inconsistency.Modules {
			delete(said, m.Type+"/"+m.Name)
			delete(d.versions, m.Type+"/"+m.Name)
		}
	}
	if !maps.Equal(said, d.versions) {
		t.Errorf("the document says %v, the device has %v (inconsistency: %+v)\n%s", said, d.versions, doc.Inconsistency, strings.Join(d.calls, "\n"))
	}
	if r := doc.Ended; r.Outcome == Succeeded && r.Failure != nil || r.Outcome != Succeeded && r.Failure == nil {
		t.Errorf("the result %s has failure %v", r.Outcome, r.Failure)
	}
}

func change(kind, name, version string) Change {
	return Change{Module: Module{Type: kind, Name: name, Version: version}}
}

func TestDocumentTellsTheTruthAboutEveryDevice(t *testing.T) {
	for seed := range *seeds {
		random := rand.New(rand.NewPCG(seed, 1))
		d := &device{random: random, versions: map[string]string{}, fails: map[string]bool{}, missing: map[string]bool{}, cannotStart: map[string]bool{}, reboots: map[string]bool{}, repeatable: map[string]bool{}}
		doc := &Document{Format: FormatVersion}
		for range 1 + random.IntN(3) { // several updates, one after another
			var changes []Change
			for i := range random.IntN(4) {
				c := change("app", fmt.Sprint("m", i), fmt.Sprint("v", random.IntN(100)))
				k := key(&c)
				if _, ok := d.versions[k]; ok && random.IntN(4) == 0 {
					c.Removes, c.Version = true, ""
				}
				d.repeatable[k] = random.IntN(2) == 0
				for _, verb := range []Verb{Check, Download, Install, Verify, Commit, Rollback, Remove, Cleanup} {
					at := k + " " + string(verb)
					d.fails[at], d.missing[at], d.reboots[at], d.cannotStart[at] = random.IntN(12) == 0, random.IntN(15) == 0, random.IntN(6) == 0, random.IntN(20) == 0
				}
				changes = append(changes, c)
			}
			d.before = maps.Clone(d.versions)
			next, err := doc.Accept(fmt.Sprint(seed), FromServer, changes, time.Unix(0, 0).UTC())
			if err != nil {
				t.Fatal(err)
			}
			doc = d.run(t, next, []float64{0, 0.05, 0.3}[random.IntN(3)])
			if d.check(t, doc); t.Failed() {
				t.Fatalf("seed %d", seed)
			}
			if doc.Inconsistency != nil {
				break // the truth of the broken modules is no longer known
			}
		}
	}
}

func TestSteps(t *testing.T) {
	one, two := change("os", "linux", "2"), change("app", "web", "2")
	for name, tc := range map[string]struct {
		changes                     []Change
		fails, missing, cannotStart []string
		want                        string
		outcome                     Outcome
		code                        string
		isInconsistent              bool
	}{
		"two modules that work": {
			changes: []Change{one, two},
			want: "check os/linux, download os/linux, check app/web, download app/web, install os/linux, install app/web, " +
				"verify os/linux, verify app/web, commit os/linux, commit app/web, cleanup os/linux, cleanup app/web", outcome: Succeeded,
		},
		"the second of two modules fails, so both are rolled back in reverse order": {
			changes: []Change{one, two}, fails: []string{"app/web install"},
			want: "check os/linux, download os/linux, check app/web, download app/web, install os/linux, install app/web, " +
				"rollback app/web, rollback os/linux, cleanup os/linux, cleanup app/web", outcome: Failed, code: "17",
		},
		"nothing is changed if the check of the second module fails": {
			changes: []Change{one, two}, fails: []string{"app/web check"},
			want: "check os/linux, download os/linux, check app/web, cleanup os/linux", outcome: Failed, code: "17",
		},
		"a handler without verify and commit succeeds": {
			changes: []Change{one}, missing: []string{"os/linux verify", "os/linux commit"},
			want: "check os/linux, download os/linux, install os/linux, verify os/linux, commit os/linux, cleanup os/linux", outcome: Succeeded,
		},
		"a handler without rollback leaves the device inconsistent, and the other module is rolled back": {
			changes: []Change{one, two}, fails: []string{"app/web verify"}, missing: []string{"app/web rollback"},
			want: "check os/linux, download os/linux, check app/web, download app/web, install os/linux, install app/web, verify os/linux, verify app/web, " +
				"rollback app/web, rollback os/linux, cleanup os/linux, cleanup app/web", outcome: Failed, code: "17", isInconsistent: true,
		},
		"a commit that fails rolls back all modules": {
			changes: []Change{one, two}, fails: []string{"app/web commit"},
			want: "check os/linux, download os/linux, check app/web, download app/web, install os/linux, install app/web, verify os/linux, verify app/web, " +
				"commit os/linux, commit app/web, rollback app/web, rollback os/linux, cleanup os/linux, cleanup app/web", outcome: Failed, code: "17",
		},
		"an install that cannot be started changes nothing, and the other module is rolled back": {
			changes: []Change{one, two}, cannotStart: []string{"app/web install", "app/web rollback"},
			want: "check os/linux, download os/linux, check app/web, download app/web, install os/linux, install app/web, " +
				"rollback os/linux, cleanup os/linux, cleanup app/web", outcome: Failed, code: "InstallFailed",
		},
		"a removal that cannot be started changes nothing": {
			changes: []Change{{Module: Module{Type: "os", Name: "linux"}, Removes: true}}, cannotStart: []string{"os/linux remove"}, missing: []string{"os/linux rollback"},
			want: "check os/linux, download os/linux, remove os/linux, cleanup os/linux", outcome: Failed, code: "RemoveFailed",
		},
		"a verify that cannot be started is rolled back": {
			changes: []Change{one}, cannotStart: []string{"os/linux verify"},
			want: "check os/linux, download os/linux, install os/linux, verify os/linux, rollback os/linux, cleanup os/linux", outcome: Failed, code: "VerifyFailed",
		},
		"a rollback that cannot be started leaves the device inconsistent": {
			changes: []Change{one}, fails: []string{"os/linux verify"}, cannotStart: []string{"os/linux rollback"},
			want: "check os/linux, download os/linux, install os/linux, verify os/linux, rollback os/linux, cleanup os/linux", outcome: Failed, code: "17", isInconsistent: true,
		},
		"an update without modules succeeds": {outcome: Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			d := &device{random: rand.New(rand.NewPCG(1, 1)), versions: map[string]string{"os/linux": "1"}, before: map[string]string{"os/linux": "1"}, fails: set(tc.fails), missing: set(tc.missing), cannotStart: set(tc.cannotStart)}
			doc := &Document{Installed: []Module{{Type: "os", Name: "linux", Version: "1"}}}
			doc, err := doc.Accept("7", FromServer, tc.changes, time.Unix(0, 0))
			if err != nil {
				t.Fatal(err)
			}
			doc = d.run(t, doc, 0)
			if got := strings.Join(d.calls, ", "); got != tc.want {
				t.Errorf("calls\n%s\nwant\n%s", got, tc.want)
			}
			if doc.Ended.Outcome != tc.outcome || tc.code != "" && doc.Ended.Failure.Code != tc.code || doc.Ended.Inconsistent != tc.isInconsistent {
				t.Errorf("ended as %+v", doc.Ended)
			}
			d.check(t, doc)
		})
	}
}

func set(keys []string) map[string]bool {
	out := map[string]bool{}
	for _, k := range keys {
		out[k] = true
	}
	return out
}

func TestRebootIsRequestedOnceAfterAllInstalls(t *testing.T) {
	d := &device{random: rand.New(rand.NewPCG(1, 1)), versions: map[string]string{}, reboots: set([]string{"os/linux install"})}
	doc, _ := (&Document{}).Accept("7", FromServer, []Change{change("os", "linux", "2"), change("app", "web", "2")}, time.Unix(0, 0))
	doc = d.run(t, doc, 0)
	if d.boot != 1 || doc.Ended.Outcome != Succeeded {
		t.Errorf("%d reboots, ended as %+v", d.boot, doc.Ended)
	}
	if i, j := slices.Index(d.calls, "install app/web"), slices.Index(d.calls, "verify os/linux"); i > j {
		t.Errorf("calls: %v", d.calls)
	}
}

// TestInterruptedInstallThatCannotBeRepeated: the first call has changed something, so the device
// is not on its old version because the second one cannot be started.
func TestInterruptedInstallThatCannotBeRepeated(t *testing.T) {
	doc, _ := (&Document{}).Accept("7", FromServer, []Change{change("os", "linux", "2")}, time.Unix(0, 0))
	for doc.Update.Phase != Installing || doc.Next(Conditions{MayInstall: true}).Kind != Call {
		step := doc.Next(Conditions{MayInstall: true})
		doc = doc.Start(step).End(step, StepResult{Repeatable: true}, Conditions{MayInstall: true}, time.Unix(0, 0))
	}
	step := doc.Next(Conditions{MayInstall: true})
	doc = doc.Start(step).Recover().Start(step).End(step, StepResult{Err: "no such file", NotStarted: true}, Conditions{}, time.Unix(0, 0))
	if next := doc.Next(Conditions{}); next.Verb != Rollback {
		t.Errorf("the next step is %+v, want the rollback; module %+v", next, doc.Update.Changes[0])
	}
}

func TestCallThatIsAlwaysInterruptedEnds(t *testing.T) {
	for _, verb := range []Verb{Check, Download, Install, Verify, Commit, Rollback, Cleanup} {
		t.Run(string(verb), func(t *testing.T) {
			c := change("os", "linux", "2")
			c.Repeatable = true
			doc, _ := (&Document{}).Accept("7", FromServer, []Change{c}, time.Unix(0, 0))
			if verb == Rollback {
				doc.Update.Changes[0].Stage = Changed
				doc.Update.fail("17", "does not work")
			}
			on := Conditions{MayInstall: true}
			interruptions := 0
			for steps := 0; doc.Update != nil; steps++ {
				if steps > 100 {
					t.Fatalf("no end: %+v", doc.Update)
				}
				s := doc.Next(on)
				doc = doc.Start(s)
				if s.Kind == Call && s.Verb == verb {
					interruptions++
					doc = doc.Recover()
					continue
				}
				doc = doc.End(s, StepResult{Repeatable: true}, on, time.Unix(0, 0))
			}
			if interruptions != MaxInterruptions {
				t.Errorf("interrupted %d times, want %d", interruptions, MaxInterruptions)
			}
			if wantInconsistent := verb == Rollback; (doc.Inconsistency != nil) != wantInconsistent {
				t.Errorf("inconsistency: %+v", doc.Inconsistency)
			}
		})
	}
}

func TestOthersAreWhatIsOnTheDeviceNow(t *testing.T) {
	in := func(name, store string) Module { return Module{Type: "os", Name: name, Version: "1", Store: store} }
	d := &Document{
		Installed: []Module{in("a", "old-a"), in("b", "old-b"), in("c", "old-c")},
		Update: &Update{Changes: []Change{
			{Module: in("a", "new"), Stage: Changed}, {Module: in("b", "new"), Stage: Ready}, {Module: in("d", "new"), Stage: Changing}, {Module: in("e", "new"), Stage: RolledBack},
		}},
	}
	for name, want := range map[string]string{"b": "a-new d-new c-old-c", "a": "d-new b-old-b c-old-c", "x": "a-new d-new b-old-b c-old-c"} {
		var got []string
		for _, o := range d.Others(in(name, "")) {
			got = append(got, o.Name+"-"+o.Store)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("the others of %s are %s, want %s", name, strings.Join(got, " "), want)
		}
	}
}

func TestUpdateThatADeviceCanNeverDo(t *testing.T) {
	change := func(name string) Change { return Change{Module: Module{Type: "os", Name: name, Version: "1"}} }
	var many []Change
	for i := range MaxModules + 1 {
		many = append(many, change(fmt.Sprint(i)))
	}
	for want, changes := range map[string][]Change{
		"the update has 101 software modules":                 many,
		"has two software modules of type os with the name a": {change("a"), change("b"), change("a")},
		"or the id of the update, has more than 256 bytes":    {change(strings.Repeat("x", MaxName+1))},
	} {
		d, err := (&Document{Format: FormatVersion}).Accept("7", FromServer, changes, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		for on := (Conditions{MayInstall: true}); d.Update != nil; {
			s := d.Next(on)
			if s.Kind == Call {
				t.Fatalf("%s: the handler is called: %+v", want, s)
			}
			d = d.Start(s).End(s, StepResult{}, on, time.Unix(2, 0))
		}
		if r := d.Results[0]; r.Outcome != Failed || r.Failure.Code != CodeUnsupported || !strings.Contains(r.Failure.Message, want) {
			t.Errorf("the result is %+v, want %q", r, want)
		}
	}
}

func TestResultIsBounded(t *testing.T) {
	long := strings.Repeat("ü", 100_000)
	m := Module{Type: "os", Name: "a", Version: "1", Metadata: map[string]string{"k": long}, Artifacts: []Artifact{{Filename: long}}}
	d, err := (&Document{Format: FormatVersion}).Accept("7", FromServer, []Change{{Module: m}}, time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	for on := (Conditions{MayInstall: true}); d.Update != nil; {
		s := d.Next(on)
		r := StepResult{Code: long, Messages: []string{long, long, long}}
		if s.Verb == Verify || s.Verb == Rollback {
			r.Err = long
		}
		d = d.Start(s).End(s, r, on, time.Unix(2, 0))
	}
	encoded, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if len(encoded) > 50_000 || !d.Ended.Inconsistent {
		t.Errorf("the document has %d bytes, the result is %+v", len(encoded), d.Ended.Outcome)
	}
}
