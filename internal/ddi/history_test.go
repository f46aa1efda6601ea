// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

// TestActionHistory: all resources with an action take actionHistory.
func TestActionHistory(t *testing.T) {
	b := backend()
	b.Action.History.Messages = nil
	for i := 200; i > 0; i-- {
		b.Action.History.Messages = append(b.Action.History.Messages, fmt.Sprint("message ", i))
	}
	for name, tc := range map[string]struct {
		query string
		want  int // messages; negative: no history
	}{
		"none":                    {"", -1},
		"an empty number":         {"?actionHistory=", -1},
		"0":                       {"?actionHistory=0", -1},
		"1":                       {"?actionHistory=1", 1},
		"2, after a cache buster": {"?c=-17&actionHistory=2", 2},
		"100":                     {"?actionHistory=100", 100},
		"more than the maximum":   {"?actionHistory=101", 100},
		"the largest number":      {"?actionHistory=2147483647", 100},
		"all":                     {"?actionHistory=-1", 100},
		"less than -1":            {"?actionHistory=-2", 100},
	} {
		for _, resource := range []string{"deploymentBase", "installedBase", "confirmationBase"} {
			t.Run(name+" of "+resource, func(t *testing.T) {
				w := answered(deviceAPI(t, b), ask("GET "+root+"/"+resource+"/31"+tc.query))
				var document wire.DeploymentBase
				if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || w.Code != 200 {
					t.Fatalf("%d %s, %v", w.Code, w.Body, err)
				}
				switch h := document.ActionHistory; {
				case tc.want < 0 && h != nil:
					t.Errorf("there is a history: %+v", h)
				case tc.want >= 0 && (h == nil || len(h.Messages) != tc.want || h.Messages[0] != "message 200" || h.Status != "RETRIEVED"):
					t.Errorf("the history is %+v, want the newest %d messages", h, tc.want)
				}
			})
		}
	}
}

// TestStatusOfHistory: the state of an action is written as in hawkBit.
func TestStatusOfHistory(t *testing.T) {
	want := map[v1alpha1.ActionState]string{
		v1alpha1.ActionWaitingForConfirmation: "WAIT_FOR_CONFIRMATION", v1alpha1.ActionRetrieved: "RETRIEVED", v1alpha1.ActionRunning: "RUNNING",
		v1alpha1.ActionDownloading: "DOWNLOAD", v1alpha1.ActionDownloaded: "DOWNLOADED", v1alpha1.ActionInstalling: "RUNNING", v1alpha1.ActionRemoving: "RUNNING",
		v1alpha1.ActionCanceling: "CANCELING", v1alpha1.ActionFinished: "FINISHED", v1alpha1.ActionError: "ERROR", v1alpha1.ActionCanceled: "CANCELED",
	}
	got := map[v1alpha1.ActionState]string{}
	for state := range want {
		b := backend()
		b.Action.History.State = string(state)
		w := answered(deviceAPI(t, b), ask("GET "+root+"/installedBase/31?actionHistory=1"))
		_, after, _ := strings.Cut(w.Body.String(), `"actionHistory":{"status":"`)
		got[state], _, _ = strings.Cut(after, `"`)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
