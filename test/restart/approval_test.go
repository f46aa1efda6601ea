// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package restart

import (
	"testing"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A manager with --require-approval starts no rollout without an approval, also if its manifest
// does not require one.
func TestNothingStartsUnapproved(t *testing.T) {
	t.Parallel()
	w, _ := newWorld(t, manager.Options{RequireApproval: true})
	w.Set("firmware-1", "1.0")
	w.Targets("device", 2, nil)
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, approvalRequired: false}`)
	r := w.EventuallyRollout("firmware-1", "waits for approval", world.InState(v1alpha1.RolloutWaitingForApproval))
	w.CommitRollout("firmware-1", "spec: {approval: {planHash: '"+r.Status.Plan.Hash+"'}}")
	w.EventuallyRollout("firmware-1", "runs", world.InState(v1alpha1.RolloutRunning))
}
