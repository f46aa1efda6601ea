// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/go-logr/logr/funcr"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// TestATargetThatIsNotServedIsInTheLogOnce: a target that becomes a duplicate, or stops being one,
// is a decision. A new target that is Ready is not a decision, and neither is any other write.
func TestATargetThatIsNotServedIsInTheLogOnce(t *testing.T) {
	s := newServer(t, target())
	store := s.deviceAPI(1)
	var lines []string
	ctx := logf.IntoContext(context.Background(), funcr.NewJSON(func(text string) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%v %v->%v", line["target"], line["from"], line["to"]))
	}, funcr.Options{}))
	for _, sameID := range [][]string{{"dev"}, {"older", "dev"}, {"older", "dev"}, {"dev"}} {
		_, err := store.Update(ctx, dev, func(w offer.World, status *v1alpha1.TargetStatus) error {
			NoteReady(w.Target, status, sameID, w.Now)
			status.Address += "."
			return nil
		})
		must(t, err)
	}
	target := "map[name:dev namespace:fleet]"
	if want := []string{target + " Ready->Duplicate", target + " Duplicate->Ready"}; !slices.Equal(lines, want) {
		t.Errorf("the log has\n%q, want\n%q", lines, want)
	}
}
