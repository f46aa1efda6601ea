// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cancellation

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

var kinds = []v1alpha1.Cancellation{v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce}

// rows are the names of the fields of Effects in the comment.
var rows = []struct{ field, name string }{
	{"NewUses", "new uses of the set"},
	{"AutoAssignments", "auto-assignments"},
	{"StartedRollouts", "started rollouts"},
	{"OtherRollouts", "other rollouts"},
	{"DeleteRollouts", "deleteRollouts"},
	{"StartedActions", "started actions"},
}

// printed returns the table as it stands in the comment.
func printed() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tNone\tSoft\tForce")
	for _, row := range rows {
		fmt.Fprint(w, row.name)
		for _, kind := range kinds {
			cell := fmt.Sprint(reflect.ValueOf(Of(kind)).FieldByName(row.field).Interface())
			fmt.Fprint(w, "\t"+strings.NewReplacer("true", "yes", "false", "no").Replace(cell))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	return out.String()
}

// TestCommentIsTheTable: the table that a reader sees is the one that the rules read.
func TestCommentIsTheTable(t *testing.T) {
	source, err := os.ReadFile("cancellation.go")
	if err != nil {
		t.Fatal(err)
	}
	want := "//\t" + strings.ReplaceAll(strings.TrimRight(printed(), "\n"), "\n", "\n//\t")
	if !strings.Contains(string(source), want) {
		t.Errorf("the comment of the table is not:\n%s", want)
	}
	if fields := reflect.TypeFor[Effects]().NumField(); fields != len(rows) || len(table) != len(kinds) {
		t.Errorf("Effects has %d fields and the comment %d rows; the table has %d columns and the comment %d", fields, len(rows), len(table), len(kinds))
	}
}

// TestOf: a valid set has no effect, and an unknown cancellation does not make a set valid.
func TestOf(t *testing.T) {
	if got := Of(""); got != (Effects{}) {
		t.Errorf("no cancellation has the effects %+v", got)
	}
	if got := Of("Hard"); got != Of(v1alpha1.CancellationNone) {
		t.Errorf("an unknown cancellation has the effects %+v", got)
	}
	order := []v1alpha1.Cancellation{"", v1alpha1.CancellationSoft, v1alpha1.CancellationForce}
	for i, a := range order {
		for j, b := range order {
			if Stronger(a, b) != (i > j) {
				t.Errorf("%q is stronger than %q: %t", a, b, Stronger(a, b))
			}
		}
	}
	if Stronger(v1alpha1.CancellationNone, "") || Stronger("", v1alpha1.CancellationNone) {
		t.Error("no cancellation is not the same as None")
	}
}

func TestEffectOnRollout(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	seconds := func(n float64) time.Time { return at.Add(time.Duration(n * float64(time.Second))) }
	never := time.Time{}
	const none, soft, force = v1alpha1.CancellationNone, v1alpha1.CancellationSoft, v1alpha1.CancellationForce
	for name, c := range map[string]struct {
		created, started, at time.Time
		want                 [3]Effect // of None, Soft and Force
		deleted              bool      // by Force with deleteRollouts
	}{
		"it started before":                                               {seconds(-20), seconds(-10), at, [3]Effect{Continue, Stop, StopAtOnce}, true},
		"it started in the same second":                                   {seconds(-20), seconds(0.9), at, [3]Effect{Continue, Stop, StopAtOnce}, true},
		"it started after":                                                {seconds(-20), seconds(1), at, [3]Effect{Refuse, Stop, StopAtOnce}, true},
		"it has not started":                                              {seconds(-20), never, at, [3]Effect{Refuse, Stop, StopAtOnce}, true},
		"it was created in the same second":                               {at, never, at, [3]Effect{Refuse, Refuse, Refuse}, false},
		"it was created after":                                            {seconds(5), never, at, [3]Effect{Refuse, Refuse, Refuse}, false},
		"the invalidation is seen for the first time, it runs":            {seconds(-20), seconds(-10), never, [3]Effect{Continue, Stop, StopAtOnce}, false},
		"the invalidation is seen for the first time, it has not started": {seconds(-20), never, never, [3]Effect{Refuse, Stop, StopAtOnce}, false},
	} {
		for i, kind := range []v1alpha1.Cancellation{none, soft, force} {
			invalidation := Invalidation{Cancellation: kind, At: c.at, DeleteRollouts: true}
			if got := invalidation.OnRollout(c.created, c.started); got != c.want[i] {
				t.Errorf("%s, %s: %s, want %s", name, kind, got, c.want[i])
			}
			if got := invalidation.Deletes(c.created); got != (c.deleted && kind == force) {
				t.Errorf("%s, %s: deleted: %t", name, kind, got)
			}
		}
	}
	if got := (Invalidation{}).OnRollout(at, never); got != Continue {
		t.Errorf("a valid set: %s", got)
	}
	if (Invalidation{Cancellation: force, At: at}).Deletes(seconds(-20)) {
		t.Error("a rollout is deleted without deleteRollouts")
	}
}
