// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/inventory"
	"github.com/goshawk-dev/goshawk/test/cluster"
)

// TestFullInventoryIsAccepted: whatever a device reports, the API server accepts the inventory that
// is made of it, and it stays below its stated size.
func TestFullInventoryIsAccepted(t *testing.T) {
	t.Parallel()
	c, namespace := strict(t), cluster.Namespace(t)
	for name, letter := range map[string]string{"plain": "a", "wide": "\U0001F600", "escaped": "<", "quoted": `"\`, "lines": "\u2028", "invisible": "\x00\u202e", "invalid": "\xff"} {
		o := &v1alpha1.TargetInventory{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		word := func(n int) string { return strings.Repeat(letter, n) }
		for round := range 4 {
			var batch inventory.Batch
			for f := range 20 {
				var list []v1alpha1.InventorySoftware
				for i := range 60 {
					length := []int{8, 60, 250, 300}[i%4]
					list = append(list, v1alpha1.InventorySoftware{Group: word(length), Name: fmt.Sprint(round, i, word(length)), Version: word(length / 2), Type: word(length / 4)})
				}
				operation := &v1alpha1.InventoryOperation{CorrelationID: word(70), Status: "FINISHED_ERROR" + word(70), Message: word(9000), StatusCode: word(70), SoftwareModule: word(300), Progress: new(int32(-5)), Software: list}
				batch = batch.Add(inventory.Report{
					Feature:   v1alpha1.InventoryFeature{ID: fmt.Sprint(f, word(200)), SoftwareModuleType: word(70), Definition: word(300) + ":SoftwareUpdatable:1.0.0", LastOperation: operation, LastFailedOperation: operation},
					Installed: list, Context: list,
				})
			}
			batch.Apply(&o.Status, inventory.Cause{ActionID: 1, Source: v1alpha1.InventorySource{Kind: v1alpha1.SourceRollout, Name: "r"}}, time.Now())
			if err := c.Status().Update(t.Context(), o); err != nil {
				t.Fatalf("%s: the API server refuses it: %v", name, err)
			}
		}
		stored := &v1alpha1.TargetInventory{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), stored); err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(stored.Status)
		if err != nil {
			t.Fatal(err)
		}
		if len(encoded) > 256<<10 || len(stored.Status.Features) != v1alpha1.MaxInventoryFeatures || stored.Status.Truncated == 0 {
			t.Errorf("%s: %d bytes, %d features, %d entries did not fit", name, len(encoded), len(stored.Status.Features), stored.Status.Truncated)
		}
	}
}
