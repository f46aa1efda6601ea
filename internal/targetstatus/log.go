// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package targetstatus

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/logging"
)

// withTarget adds to the logger of ctx what a write changes on a target, for the line of the write
// at V(1).
func withTarget(ctx context.Context, old, next *v1alpha1.Target) context.Context {
	log := logf.FromContext(ctx)
	if !log.V(1).Enabled() {
		return ctx
	}
	values := []any{"updateStatus", next.Status.UpdateStatus}
	if a := action.Newest(&next.Status); a != nil {
		subject := "distributionSet"
		if a.Removes() {
			subject = "removal"
		}
		values = append(values, "action", a.ID, "from", stateOf(action.ByID(&old.Status, a.ID)), "to", a.State,
			subject, a.Subject(), "source", string(a.Source.Kind)+"/"+a.Source.Name)
	}
	return logf.IntoContext(ctx, log.WithValues(values...))
}

func stateOf(a *v1alpha1.Action) v1alpha1.ActionState {
	if a == nil {
		return ""
	}
	return a.State
}

// logDecisions logs, after they were stored, the decisions about a target that a person waits for:
// that it is served no longer, or again, and each stage of its own assignment. What happens on the
// device is part of the line of the write.
func logDecisions(ctx context.Context, old, next *v1alpha1.Target) {
	for _, conditionType := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionAssigned} {
		was := meta.FindStatusCondition(old.Status.Conditions, conditionType)
		is := meta.FindStatusCondition(next.Status.Conditions, conditionType)
		isFirstReady := conditionType == v1alpha1.ConditionReady && was == nil && is != nil && is.Status == metav1.ConditionTrue
		if is == nil || isFirstReady || was != nil && was.Reason == is.Reason {
			continue
		}
		d := logging.Decision{Reason: is.Reason, To: is.Reason, Message: is.Message}
		if was != nil {
			d.From = was.Reason
		}
		logging.Decided(logf.FromContext(ctx, "target", key(next), "condition", conditionType), d)
	}
}
