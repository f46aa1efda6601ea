// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/autoassignment"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/rollout"
)

// justCreated is how long a new action without reports is checked against the API server each time
// it is fetched, because another process may be about to withdraw it.
const justCreated = 10 * time.Second

// Deployment returns an open action. The first request creates it.
func (b *Backend) Deployment(ctx context.Context, d deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	s, err := b.stateOf(ctx, d)
	if err == nil && s.offers(offer.Confirm, id) {
		s, err = b.fresh(ctx, d, s)
	}
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	switch a := action.ByID(&s.target().Status, id); {
	case a != nil && (a.State == v1alpha1.ActionFinished || a.State == v1alpha1.ActionError):
		return b.document(s, a) // W-27: it is returned, and nothing changes
	case s.offer.Kind != offer.Deploy || s.offer.ActionID != id:
		return deviceapi.Deployment{}, notOffered(s.world, id)
	case s.offer.Action == nil:
		return b.start(ctx, s, id)
	case isDownloadOnly(s, a) != a.SkipRequested:
		return b.storeSkipRequest(ctx, s, a)
	case action.HasNoReport(a) && b.now().Sub(a.StartedAt.Time) < justCreated:
		return b.verified(ctx, s, a)
	default:
		return b.document(s, a)
	}
}

// Preview returns an action as Deployment or Confirmation would, and creates nothing.
func (b *Backend) Preview(ctx context.Context, d deviceapi.Device, id int32, isConfirmation bool) (deviceapi.Deployment, error) {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	kind := offer.Deploy
	if isConfirmation {
		kind = offer.Confirm
	}
	switch a := action.ByID(&s.target().Status, id); {
	case !isConfirmation && a != nil && (a.State == v1alpha1.ActionFinished || a.State == v1alpha1.ActionError):
		return b.document(s, a)
	case s.offer.Kind != kind || s.offer.ActionID != id:
		return deviceapi.Deployment{}, notOffered(s.world, id)
	case s.offer.Action != nil:
		return b.document(s, s.offer.Action)
	}
	t := s.target().DeepCopy()
	a := action.Create(&t.Status, s.offer.Creation(s.world))
	if a == nil {
		return deviceapi.Deployment{}, deviceapi.ErrNotFound
	}
	s.world = b.index.World(t, b.now())
	return b.document(s, a)
}

func isDownloadOnly(s deviceState, a *v1alpha1.Action) bool {
	return offer.CurrentUpdate(s.world, a).Type == v1alpha1.UpdateTypeDownloadOnly
}

// storeSkipRequest returns the deployment of an action that was adopted by an update of another
// type. It first stores whether the device is asked to skip the installation, because that changes
// the meaning of a success.
func (b *Backend) storeSkipRequest(ctx context.Context, s deviceState, a *v1alpha1.Action) (deviceapi.Deployment, error) {
	t, err := b.update(ctx, s.key, starting, func(w offer.World, status *v1alpha1.TargetStatus) error {
		if now := action.ByID(status, a.ID); now == nil || now.State.IsClosed() {
			return deviceapi.ErrNotFound
		}
		action.SetSkipRequested(status, a.ID, isDownloadOnly(deviceState{world: w}, a))
		seen(status, w.Now)
		return nil
	})
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	s.world = b.index.World(t, b.now())
	if a = action.ByID(&t.Status, a.ID); a == nil {
		return deviceapi.Deployment{}, deviceapi.ErrNotFound
	}
	return b.verified(ctx, s, a)
}

// start stores a new action, and then reads source and set from the API server. If they were
// stopped, the action is removed and the device gets nothing.
func (b *Backend) start(ctx context.Context, s deviceState, id int32) (deviceapi.Deployment, error) {
	s, a, isNew, err := b.created(ctx, s, id, offer.Deploy)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	doc, err := b.verified(ctx, s, a)
	doc.Created = isNew && err == nil
	return doc, err
}

// created stores the new action for the offer, and returns the state of the device after that.
// isNew is false if another request was faster.
func (b *Backend) created(ctx context.Context, s deviceState, id int32, kind offer.Kind) (after deviceState, a *v1alpha1.Action, isNew bool, err error) {
	created := false
	t, err := b.update(ctx, s.key, starting, func(w offer.World, status *v1alpha1.TargetStatus) error {
		o := offer.For(w)
		created = false
		switch {
		case o.Kind != kind || o.ActionID != id:
			return notOffered(w, id)
		case o.Action != nil:
			return nil // another process was faster: the action is created only once
		}
		if created = action.Create(status, o.Creation(w)) != nil; !created {
			return deviceapi.ErrNotFound
		}
		seen(status, w.Now)
		return nil
	})
	if err != nil {
		return s, nil, false, err
	}
	if created && kind == offer.Deploy {
		actionsStarted.Inc()
	}
	s.world = b.index.World(t, b.now())
	if a = action.ByID(&t.Status, id); a == nil {
		return s, nil, false, deviceapi.ErrNotFound
	}
	return s, a, created, nil
}

// verified returns a new action only if the API server confirms that it is still offered.
func (b *Backend) verified(ctx context.Context, s deviceState, a *v1alpha1.Action) (deviceapi.Deployment, error) {
	if err := b.verifyStillOffered(ctx, s, a); err != nil {
		return deviceapi.Deployment{}, err
	}
	return b.document(s, a)
}

// verifyStillOffered undoes a start unless source and set are still valid at the API server. If
// they are not, the error is ErrNotFound.
func (b *Backend) verifyStillOffered(ctx context.Context, s deviceState, a *v1alpha1.Action) error {
	stopped, cause, err := b.isStopped(ctx, s, a)
	if unavailable, ok := errors.AsType[deviceapi.Unavailable](err); ok {
		return unavailable
	}
	if err != nil {
		return deviceapi.Unavailable{Cause: err}
	}
	if !stopped {
		return nil
	}
	if _, err := b.update(ctx, s.key, decisive, func(w offer.World, status *v1alpha1.TargetStatus) error {
		action.Withdraw(status, a.ID, cause, w.Now)
		return nil
	}); err != nil {
		return err
	}
	logWithdrawn(s.key, a, cause)
	return fmt.Errorf("action %d was withdrawn: its source or its set has been stopped meanwhile: %w", a.ID, deviceapi.ErrNotFound)
}

// isStopped asks the API server whether the source and the set of an action are still valid. The
// The cause is empty if the source is only paused.
func (b *Backend) isStopped(ctx context.Context, s deviceState, a *v1alpha1.Action) (bool, v1alpha1.CancelCause, error) {
	if a.Removes() {
		source, err := b.liveSource(ctx, s.key.Namespace, a)
		return source.ended != "" || source.closed, source.ended, err
	}
	set, err := b.live.set(ctx, types.NamespacedName{Namespace: s.key.Namespace, Name: a.DistributionSet})
	if err != nil {
		return false, "", err
	}
	if set == nil || !set.DeletionTimestamp.IsZero() || set.Status.ContentHash != a.ContentHash && !set.Unreadable.Lacks("status.contentHash") {
		return true, v1alpha1.CauseSetGone, nil
	}
	source, err := b.liveSource(ctx, s.key.Namespace, a)
	switch {
	case err != nil:
		return false, "", err
	case source.ended != "":
		return true, source.ended, nil
	case eligibility.Invalidates(offer.SetOf(set, nil), source.started):
		return true, v1alpha1.CauseInvalidated, nil
	case set.Unreadable != nil:
		return false, "", deviceapi.Unavailable{Cause: fmt.Errorf("DistributionSet %s cannot be decoded: %s", set.Name, set.Unreadable.Message), RetryAfter: unreadablePause}
	}
	return source.closed, "", nil
}

// liveSource is the state of the source of an action at the API server.
type liveSource struct {
	started time.Time            // of a rollout
	ended   v1alpha1.CancelCause // why it has ended; empty if it has not
	closed  bool                 // offers nothing at the moment
}

// liveSource reads the source of an action from the API server. An assignment of the target itself
// needs no read, because the resource version of the target guards it.
func (b *Backend) liveSource(ctx context.Context, namespace string, created *v1alpha1.Action) (liveSource, error) {
	source := created.Source
	key := types.NamespacedName{Namespace: namespace, Name: source.Name}
	switch source.Kind {
	case v1alpha1.SourceRollout:
		r, err := b.live.rollout(ctx, key)
		if err != nil || r == nil || r.Identity() != source.UID && !r.Unreadable.Lacks("status.uid") {
			return liveSource{ended: v1alpha1.CauseDeleted}, err
		}
		closed, stopped := rollout.GroupClosedReason(r, source.Group)
		return stateOfSource(r.Status.StartedAt, closed, stopped), nil
	case v1alpha1.SourceAutoAssignment:
		a, err := b.live.auto(ctx, key)
		if err != nil || a == nil || a.Identity() != source.UID && !a.Unreadable.Lacks("status.uid") {
			return liveSource{ended: v1alpha1.CauseDeleted}, err
		}
		if !brings(&a.Spec.Update, created) && !a.Unreadable.Lacks("spec.update") { // its set was changed
			return liveSource{ended: v1alpha1.CauseSuperseded}, nil
		}
		closed, stopped := autoassignment.ClosedReason(a)
		return stateOfSource(nil, closed, stopped), nil
	default:
		return liveSource{}, nil
	}
}

// brings reports whether an update still names the set of an action, or the software that it
// removes.
func brings(u *v1alpha1.Update, a *v1alpha1.Action) bool {
	if a.Removes() {
		return eligibility.RemovalHash(u.Remove) == a.ContentHash
	}
	return u.DistributionSet == a.DistributionSet
}

func stateOfSource(started *metav1.MicroTime, closed eligibility.Reason, stopped bool) liveSource {
	s := liveSource{closed: !closed.IsZero()}
	if stopped {
		s.ended = v1alpha1.CauseStopped
	}
	if started != nil {
		s.started = started.Time
	}
	return s
}

// document returns an action in the form for its device.
func (b *Backend) document(s deviceState, a *v1alpha1.Action) (deviceapi.Deployment, error) {
	set := offer.SetFor(s.world, a)
	if set != nil && set.Unreadable {
		return deviceapi.Deployment{}, deviceapi.Unavailable{Cause: errors.New(set.NotDeployable), RetryAfter: unreadablePause}
	}
	if set == nil || set.ContentHash != a.ContentHash {
		return deviceapi.Deployment{}, deviceapi.ErrNotFound
	}
	update := offer.CurrentUpdate(s.world, a)
	reported := b.withBuffered(s, a)
	doc := deviceapi.Deployment{
		ID:           a.ID,
		Forced:       offer.IsForced(update, action.IsConsistent(&s.target().Status), b.now()),
		DownloadOnly: update.Type == v1alpha1.UpdateTypeDownloadOnly,
		Window:       windowOf(a, b.now()),
		Weight:       update.EffectiveWeight(),
		Acknowledged: !action.HasNoReport(reported),
		History:      history(reported),
	}
	for _, e := range set.Metadata {
		doc.Metadata = append(doc.Metadata, deviceapi.Metadata{Key: e.Key, Value: e.Value})
	}
	if len(set.Remove) > 0 {
		doc.CanRemove = canRemove(s.target())
	}
	for _, r := range set.Remove {
		doc.Remove = append(doc.Remove, deviceapi.Software{Group: r.Group, Name: r.Name, Version: r.Version, Type: r.Type})
	}
	for _, m := range set.Modules {
		doc.Modules = append(doc.Modules, b.module(m))
	}
	return doc, nil
}

// windowOf returns whether the maintenance window of an action is open.
func windowOf(a *v1alpha1.Action, now time.Time) deviceapi.Window {
	switch window, open := offer.Window(a, now); {
	case window == nil:
		return deviceapi.NoWindow
	case open:
		return deviceapi.WindowOpen
	}
	return deviceapi.WindowClosed
}

// withBuffered returns an action with the reports that are buffered for it.
func (b *Backend) withBuffered(s deviceState, a *v1alpha1.Action) *v1alpha1.Action {
	buffered := b.progress.of(s.key)
	if len(buffered) == 0 {
		return a
	}
	status := s.target().Status.DeepCopy()
	w := deviceWrite{reports: buffered}
	_ = w.apply(s.world, status) // only a change returns an error
	if after := action.ByID(status, a.ID); after != nil {
		return after
	}
	return a
}

// history returns the state of an action and the messages of its device that are kept, newest
// first, each one once.
func history(a *v1alpha1.Action) deviceapi.History {
	h := deviceapi.History{State: string(a.State)}
	add := func(message string) {
		if message != "" && !slices.Contains(h.Messages, message) {
			h.Messages = append(h.Messages, message)
		}
	}
	add(a.Message)
	for _, line := range slices.Backward(a.Messages) {
		add(line)
	}
	for _, e := range slices.Backward(a.History) {
		add(e.Message)
	}
	return h
}

// cacheBuster returns a value that changes with the content, the urgency or the window of the
// offered deployment.
func cacheBuster(s deviceState) string {
	if s.offer.Action != nil && windowOf(s.offer.Action, s.world.Now) == deviceapi.WindowClosed {
		return contentAndUrgency(s) + "w"
	}
	return contentAndUrgency(s)
}

func contentAndUrgency(s deviceState) string {
	if s.offer.Set == nil || len(s.offer.Set.ContentHash) < 8 {
		return "0"
	}
	var update v1alpha1.ActionUpdate
	if in := s.offer.Intent; in != nil {
		update.Type, update.ForceAt = in.Update.Type, in.Update.ForceAt
	} else {
		update = offer.CurrentUpdate(s.world, s.offer.Action)
	}
	if offer.IsForced(update, action.IsConsistent(&s.target().Status), s.world.Now) {
		return s.offer.Set.ContentHash[:8] + "f"
	}
	return s.offer.Set.ContentHash[:8] + "a"
}

// Installed returns a closed action as it was offered.
func (b *Backend) Installed(ctx context.Context, d deviceapi.Device, id int32) (deviceapi.Deployment, error) {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return deviceapi.Deployment{}, err
	}
	a := action.ByID(&s.target().Status, id)
	if a == nil || !a.State.IsClosed() || a.State == v1alpha1.ActionCanceled {
		return deviceapi.Deployment{}, deviceapi.ErrNotFound
	}
	return b.document(s, a)
}
