// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// withSoftware adds the inventories of two targets.
func withSoftware(w *world) {
	w.t.Helper()
	for name, software := range map[string][]v1alpha1.InventorySoftware{
		"gateway-done":   {{Group: "org.example", Name: "modem", Version: "3.1"}, {Name: "agent", Version: "1.0"}},
		"gateway-failed": {{Group: "org.example", Name: "modem", Version: "2.9"}, {Name: "agent", Version: "1.0"}, {Name: "debugger", Version: "5"}},
		"gateway-later":  {{Group: "org.example", Name: "modem", Version: "3.1"}, {Name: "agent", Version: "1.0"}},
	} {
		i := &v1alpha1.TargetInventory{ObjectMeta: objects(name)}
		i.Status.TargetUID, i.Status.Installed, i.Status.ContentsHash = i.UID, software, "hash"
		i.Status.Context = []v1alpha1.InventorySoftware{{Name: "board", Version: "B", Type: "hw-part"}}
		if err := w.client.Create(w.t.Context(), i); err != nil {
			w.t.Fatal(err)
		}
		if err := w.client.Status().Update(w.t.Context(), i); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestCompare(t *testing.T) {
	w := newWorld(t, fleetOf()...)
	withSoftware(w)
	var out strings.Builder
	for _, args := range []string{
		"gateway-done gateway-failed", "gateway-done gateway-done", "gateway-failed", "gateway-failed --rollout firmware-2-1", "gateway-silent -l site", "new -l site=berlin",
		"gateway-done gateway-later -o yaml",
	} {
		got := w.run(append([]string{"compare"}, strings.Fields(args)...)...)
		fmt.Fprintf(&out, "$ kubectl goshawk compare %s\n%s%s\n", args, got.out, got.errOut)
		if got.code != 0 {
			t.Errorf("%s: code %d", args, got.code)
		}
	}
	golden(t, "compare/all.txt", out.String())
	golden(t, "compare/peers.json", w.run("compare", "gateway-silent", "-o", "json").out)
}

func TestCompareErrors(t *testing.T) {
	w := newWorld(t, fleetOf()...)
	var out strings.Builder
	for _, tc := range []struct {
		args string
		code int
	}{
		{"", CodeUsage}, {"a b c", CodeUsage}, {"gateway-done gateway-failed -l site", CodeUsage}, {"gateway-done -l site --rollout firmware-2-1", CodeUsage}, {"gateway-done --limit 0", CodeUsage},
		{"gateway-dne", CodeNotFound}, {"gateway-done gateway-faild", CodeNotFound}, {"new", CodeNotFound}, {"new --rollout firmware-2-1", CodeNotFound},
	} {
		got := w.run(append([]string{"compare"}, strings.Fields(tc.args)...)...)
		fmt.Fprintf(&out, "$ kubectl goshawk compare %s\n%s", tc.args, got.errOut)
		if got.code != tc.code || got.out != "" {
			t.Errorf("%s: code %d, output %q", tc.args, got.code, got.out)
		}
	}
	golden(t, "compare/errors.txt", out.String())
}
