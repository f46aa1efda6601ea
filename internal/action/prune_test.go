// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

func noSource(types.UID) bool { return false }

// aged returns a target with this many closed actions, each with the text.
func aged(count int, text string) *v1alpha1.TargetStatus {
	l := newTarget()
	for i := range count {
		for _, do := range []testStep{starts(fmt.Sprintf("set-%d", i)), reports(Proceed, saying(text), code(text)), reports(Fail, saying(text), code(text))} {
			do(l)
		}
	}
	return &l.s
}

func ids(s *v1alpha1.TargetStatus) []int32 {
	var ids []int32
	for _, a := range s.Actions {
		ids = append(ids, a.ID)
	}
	return ids
}

func sizeOf(t *testing.T, s *v1alpha1.TargetStatus) int {
	t.Helper()
	encoded, err := json.Marshal(s.Actions)
	if err != nil {
		t.Fatal(err)
	}
	return len(encoded)
}

func TestW22_PruneKeepsTheActionsOfExistingSources(t *testing.T) {
	s := aged(14, "")
	Create(s, Creation{DistributionSet: "last", Now: noon})
	s.Actions[2], s.Actions[9] = s.Actions[9], s.Actions[2] // in any order
	s.Actions[0].Source.UID = "uid-of-set-1"                // not the newest of its source
	Prune(s, func(uid types.UID) bool { return uid == "uid-of-set-1" || uid == "uid-of-set-13" })
	want := []int32{2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	if diff := cmp.Diff(want, ids(s)); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	for _, a := range s.Actions {
		if got, want := len(a.History) > 0, a.ID >= 13; got != want {
			t.Errorf("action %d has a history: %t, want %t: the open one and the newest two closed", a.ID, got, want)
		}
	}
}

func TestPruneDoesNotChangeASmallStatus(t *testing.T) {
	s := aged(2, "short")
	before := s.DeepCopy()
	Prune(s, noSource)
	if diff := cmp.Diff(before, s); diff != "" {
		t.Errorf("it changed:\n%s", diff)
	}
	empty := &v1alpha1.TargetStatus{}
	if Prune(empty, noSource); len(empty.Actions) != 0 {
		t.Errorf("an empty status has %d actions", len(empty.Actions))
	}
}

func TestPruneBelow32KiB(t *testing.T) {
	heavy := strings.Repeat("<", 600) // six bytes each as JSON
	all := func(types.UID) bool { return true }
	cases := map[string]struct {
		status *v1alpha1.TargetStatus
		alive  func(types.UID) bool
		// kept must be kept, gone must be dropped.
		kept, gone []int32
	}{
		"closed actions of deleted sources are dropped":                  {aged(14, heavy), func(uid types.UID) bool { return uid == "uid-of-set-0" }, []int32{1, 14}, []int32{4, 5}},
		"actions of many existing sources are dropped, the oldest first": {aged(90, heavy), all, []int32{90}, []int32{1}},
		"messages of existing sources are dropped before results":        {aged(20, heavy), all, []int32{1, 20}, nil},
		"more than a hundred entries":                                    {aged(130, ""), all, []int32{130}, []int32{1}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			Prune(tc.status, tc.alive)
			if size := sizeOf(t, tc.status); size > v1alpha1.MaxActionBytes || len(tc.status.Actions) > 100 {
				t.Errorf("%d bytes, %d entries", size, len(tc.status.Actions))
			}
			for _, id := range tc.kept {
				if find(tc.status, id) == nil {
					t.Errorf("action %d was dropped", id)
				}
			}
			for _, id := range tc.gone {
				if find(tc.status, id) != nil {
					t.Errorf("action %d is kept", id)
				}
			}
		})
	}
}

func TestPruneDropsHistoriesFirst(t *testing.T) {
	s := aged(10, strings.Repeat("<", 230))
	Prune(s, noSource)
	if size := sizeOf(t, s); size > v1alpha1.MaxActionBytes || len(s.Actions) != 10 || s.Actions[0].Message == "" {
		t.Errorf("%d bytes, %d actions; the oldest one's message: %q", size, len(s.Actions), s.Actions[0].Message)
	}
}

func TestPruneKeepsAHundredModules(t *testing.T) {
	s := aged(12, strings.Repeat("<", 600))
	var modules []string
	for i := range 100 {
		modules = append(modules, fmt.Sprintf("%s-%d", strings.Repeat("m", 155), i))
	}
	Create(s, Creation{DistributionSet: strings.Repeat("d", 253), Modules: modules, Now: noon})
	for _, e := range []Event{Proceed, Download, Downloaded, Install, Remove} {
		Apply(s, Report{ID: 13, Event: e, Details: slices.Repeat([]string{strings.Repeat("&", 300) + " failed", strings.Repeat("&", 600)}, 8), StatusCode: strings.Repeat("&", 64), Stage: strings.Repeat("&", 64), Now: noon})
	}
	if size := sizeOf(t, &v1alpha1.TargetStatus{Actions: s.Actions[12:]}); size <= v1alpha1.MaxActionBytes {
		t.Fatalf("the open action alone has only %d bytes", size)
	}
	Prune(s, noSource)
	a := Open(s)
	if size := sizeOf(t, s); size > v1alpha1.MaxActionBytes || a == nil || len(a.Modules) != 100 {
		t.Fatalf("%d bytes; open: %v; its modules must all be kept", size, a != nil)
	}
}
