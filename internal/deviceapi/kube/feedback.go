// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// Report processes a report on an action. A result is stored before the response; intermediate
// reports are buffered.
func (b *Backend) Report(ctx context.Context, d deviceapi.Device, r action.Report) error {
	t, err := b.find(d)
	if err != nil {
		return err
	}
	if a := action.ByID(&t.Status, r.ID); a != nil && a.State.HasStarted() && !a.State.IsClosed() && action.MayClose(a, r.Event) {
		return b.applyNow(ctx, client.ObjectKeyFromObject(t), decisive, r) // the write applies pending changes first
	}
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return err
	}
	a := action.ByID(&s.target().Status, r.ID)
	if a != nil && a.State == v1alpha1.ActionWaitingForConfirmation {
		if s, err = b.fresh(ctx, d, s); err != nil {
			return err
		}
		a = action.ByID(&s.target().Status, r.ID)
	}
	switch {
	case a == nil:
		return b.applyNow(ctx, s.key, ordinary, r)
	case a.State == v1alpha1.ActionWaitingForConfirmation:
		return deviceapi.ErrNotFound
	case !action.MayClose(a, r.Event):
		return b.bufferReport(ctx, s, a, r)
	case a.State.IsClosed():
		return b.applyNow(ctx, s.key, ordinary, r)
	default:
		return b.applyNow(ctx, s.key, decisive, r)
	}
}

// bufferReport keeps an intermediate report until the next write. Beyond the quota it is refused.
// If the buffer has no room, it is written at once with the reports before it, within the device's
// budget of writes.
func (b *Backend) bufferReport(ctx context.Context, s deviceState, a *v1alpha1.Action, r action.Report) error {
	if b.options.Replicated && action.IsEvidence(a, r.Event) {
		return b.applyNow(ctx, s.key, decisive, r)
	}
	if int(a.Reports)+b.progress.count(s.key) >= v1alpha1.MaxReports {
		return b.applyNow(ctx, s.key, ordinary, r)
	}
	received := action.Condense(r)
	received.Now = b.now()
	full, kept := b.progress.add(s.key, received)
	if !kept {
		return b.applyNow(ctx, s.key, ordinary, r)
	}
	if full {
		if _, err := b.update(ctx, s.key, ordinary, nil); err != nil && !errors.Is(err, deviceapi.ErrTooMany) {
			return err
		}
	}
	if a.State.IsClosed() && !action.AwaitsInstallation(&s.target().Status, a.ID) {
		return deviceapi.ErrGone
	}
	return nil
}

// applyNow stores a report and returns the error for its outcome.
func (b *Backend) applyNow(ctx context.Context, key types.NamespacedName, class writeClass, r action.Report) error {
	w := &deviceWrite{class: class, reports: []action.Report{r}}
	if _, err := b.write(ctx, key, w); err != nil {
		return err
	}
	return deviceapi.ErrorOf(w.outcomes[len(w.outcomes)-1], w.awaited)
}

// assumeWork assumes that a device has downloaded and installed if it reports the result of an
// action that it started before this process opened: the reports that the previous process had
// buffered are lost. Otherwise a failure during the installation would count as one before it, and
// a download as a skip. If no report can be lost, opened is zero.
func assumeWork(status *v1alpha1.TargetStatus, r action.Report, opened time.Time) {
	if a := action.ByID(status, r.ID); a != nil && action.MayClose(a, r.Event) && a.StartedAt != nil && a.StartedAt.Time.Before(opened) {
		action.AssumeWork(status, r.ID)
	}
}

// AnswerCancel processes the answer to a cancel.
func (b *Backend) AnswerCancel(ctx context.Context, d deviceapi.Device, r action.Report) error {
	s, err := b.cancelState(ctx, d, r.ID)
	if err != nil {
		return err
	}
	if !s.offers(offer.Cancel, r.ID) {
		if action.ByID(&s.target().Status, r.ID) == nil {
			return notOffered(s.world, r.ID)
		}
		return deviceapi.ErrNotAllowed
	}
	class := ordinary
	if a := action.ByID(&s.target().Status, r.ID); r.Event == action.CancelRejected || action.MayClose(a, r.Event) {
		class = decisive
	}
	if err := b.applyNow(ctx, s.key, class, r); r.Event != action.Warn || !errors.Is(err, deviceapi.ErrGone) {
		return err
	}
	return nil // an intermediate report about the cancel of an action that was closed by force: the cancel is still offered
}

// Cancel returns nil if the cancel of the action is offered, or if the action is canceled.
func (b *Backend) Cancel(ctx context.Context, d deviceapi.Device, id int32) error {
	s, err := b.cancelState(ctx, d, id)
	if err != nil {
		return err
	}
	if a := action.ByID(&s.target().Status, id); !s.offers(offer.Cancel, id) && (a == nil || a.State != v1alpha1.ActionCanceled) {
		return notOffered(s.world, id)
	}
	return nil
}

// PendingCancel returns the action whose cancel is offered, also before that is stored. A cancel
// that is lost because this process ends before it is stored does no harm: the next process
// computes the same one.
func (b *Backend) PendingCancel(d deviceapi.Device) (deviceapi.Deployment, bool) {
	t, err := b.find(d)
	if err != nil || b.installedUnknown(t) || b.hasUnappliedReport(t) || action.Open(&t.Status) == nil && action.PendingCancel(&t.Status) == nil {
		return deviceapi.Deployment{}, false
	}
	s := deviceState{key: client.ObjectKeyFromObject(t), world: b.index.World(t, b.now())}
	if status, pending := offer.ApplyPending(s.world); pending {
		next := *t
		next.Status = *status
		s.world.Target = &next
	}
	if s.offer = offer.Decide(s.world); s.offer.Kind != offer.Cancel {
		return deviceapi.Deployment{}, false
	}
	doc, err := b.document(s, s.offer.Action)
	return doc, err == nil
}

// cancelState is stateOf for a request about the cancel of an action.
func (b *Backend) cancelState(ctx context.Context, d deviceapi.Device, id int32) (deviceState, error) {
	s, err := b.stateOf(ctx, d)
	if err != nil || s.offers(offer.Cancel, id) {
		return s, err
	}
	if a := action.ByID(&s.target().Status, id); a == nil || a.State.IsClosed() {
		return s, nil
	}
	return b.fresh(ctx, d, s)
}

// notify records an event for an outcome that users must know, once.
func (b *Backend) notify(t *v1alpha1.Target, r action.Report, outcome action.Outcome) {
	switch outcome {
	case action.Closed:
		if a := action.ByID(&t.Status, r.ID); a != nil {
			actionsClosed.WithLabelValues(string(a.State)).Inc()
			b.recordFailure(t, a)
		}
	case action.FirstDropped:
		b.recordEvent(t, "Warning", "ReportsDropped", fmt.Sprintf("action %d has more than %d reports; further reports are dropped until its result", r.ID, v1alpha1.MaxReports))
	case action.LateFinal:
		b.recordEvent(t, "Normal", "LateResult", fmt.Sprintf("the device reported a result for action %d, which was already closed; the action does not change", r.ID))
	case action.Unknown:
		b.recordEvent(t, "Warning", "UnknownAction", fmt.Sprintf("the device reported on action %d, which was never assigned to this target (was an older backup restored?)", r.ID))
	default:
	}
}

// recordEvent records an event of a target, and a log line at V(1), because a device can cause both
// repeatedly.
func (b *Backend) recordEvent(t *v1alpha1.Target, eventType, reason, message string) {
	b.events.Eventf(t, nil, eventType, reason, "Report", "%s", message)
	deviceLog.V(1).Info("Report without effect", "target", client.ObjectKeyFromObject(t), "reason", reason, "message", message)
}

// recordFailure reports why an update failed, once: in an event of the Target and in the log.
func (b *Backend) recordFailure(t *v1alpha1.Target, a *v1alpha1.Action) {
	if a.State != v1alpha1.ActionError {
		return
	}
	b.events.Eventf(t, nil, "Warning", "UpdateFailed", "Report", "action %d (%s of %s %s) failed%s", a.ID, a.Subject(), a.Source.Kind, a.Source.Name, action.WhyFailed(a))
	subject := "distributionSet"
	if a.Removes() {
		subject = "removal"
	}
	deviceLog.Info("An update failed", "target", client.ObjectKeyFromObject(t), "action", a.ID, subject, a.Subject(),
		"source", string(a.Source.Kind)+"/"+a.Source.Name, "statusCode", a.StatusCode, "message", a.FailureMessage)
}

// Flush writes reports that were buffered for too long, and changed inventories, within the
// devices' budgets of writes, until ctx ends. Then it writes all remaining ones within a few
// seconds.
func (b *Backend) Flush(ctx context.Context) error {
	var inventories sync.WaitGroup
	defer inventories.Wait()
	inventories.Go(func() { b.inventories.run(ctx) })
	return b.progress.run(ctx, b.options.ProgressInterval, func(ctx context.Context, key types.NamespacedName, isLast bool) error {
		class := ordinary
		if isLast {
			class = decisive
		}
		_, err := b.update(ctx, key, class, nil)
		return err
	})
}
