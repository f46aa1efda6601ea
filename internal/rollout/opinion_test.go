// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"slices"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

// awaited: the member may still start. In progress is who failed and is going to be tried again.
var awaited = []Bucket{Pending, InProgress}

// bucketsOf are the buckets of a member without an open action of the rollout, by the judgement on
// its intent: who is awaited may still start, and who is not awaited never does.
var bucketsOf = map[offer.Code][]Bucket{
	"":                       awaited,
	offer.CodeHold:           awaited,
	offer.CodeWindowClosed:   awaited,
	offer.CodePaused:         awaited,
	offer.CodeBusy:           awaited,
	offer.CodeWaitingForStep: awaited,
	offer.CodeSetNotFound:    awaited,
	offer.CodeSetNotReady:    awaited,
	offer.CodeContentChanged: awaited,
	offer.CodeRetrying:       {InProgress},
	offer.CodeDone:           {Succeeded},
	offer.CodeAlreadyThere:   {Succeeded},
	offer.CodeFailed:         {Failed},
	offer.CodeDeadlinePassed: {Failed},
	offer.CodeSkipped:        {Skipped},
	offer.CodeCanceled:       {Canceled, Failed, Skipped},   // left behind while it was asked to agree
	offer.CodeSuperseded:     {Canceled, Failed, Succeeded}, // a result stays one when the member is taken over
	offer.CodeStopped:        {Canceled, Failed, Succeeded}, // and when the rollout is stopped
	offer.CodeSetInvalid:     {Canceled},
}

// notOpen are the judgements on who is scheduled, as long as the group has not opened.
var notOpen = []offer.Code{offer.CodeNotStarted, offer.CodeGroupNotOpen, offer.CodePaused}

// difference is a pair of what is counted and what is offered that do not say the same.
type difference struct {
	bucket Bucket
	code   offer.Code
}

// knownDifferences, each with the worlds in which it is known.
var knownDifferences = map[difference]func(s *stage, name string) bool{
	// Its type may be corrected again, and its duplicate deleted; the start deadline ends the wait,
	// and waitingFor says what there is to wait for.
	{Pending, offer.CodeIncompatible}:    anywhere,
	{Pending, offer.CodeNotReady}:        anywhere,
	{InProgress, offer.CodeIncompatible}: anywhere,
	{InProgress, offer.CodeNotReady}:     anywhere,
	// Something newer is about to bring it the very set that the rollout brings: the member is
	// awaited until that has come to an end.
	{Pending, offer.CodeSuperseded}:    isBroughtAnyway,
	{Scheduled, offer.CodeSuperseded}:  isBroughtAnyway,
	{InProgress, offer.CodeSuperseded}: isBroughtAnyway,
	// It came by the set in another way, before its group opened or since. The offer names first
	// what else would keep it from start.
	{Succeeded, offer.CodePaused}:         isThereAnyway,
	{Succeeded, offer.CodeSetNotFound}:    isThereAnyway,
	{Succeeded, offer.CodeSetNotReady}:    isThereAnyway,
	{Succeeded, offer.CodeContentChanged}: isThereAnyway,
	{Succeeded, offer.CodeIncompatible}:   isThereAnyway,
	// It came by the set in another way, and something newer has taken it over, or it had failed,
	// before that was counted. Nothing is offered either way.
	{Canceled, offer.CodeAlreadyThere}: isThereAnyway,
	{Failed, offer.CodeAlreadyThere}:   isThereAnyway,
	// It had come by the set in another way when its group closed, and has lost it since. The
	// counts of a closed group are history.
	{Pending, offer.CodeStopped}: func(s *stage, _ string) bool { return s.state() == v1alpha1.RolloutFinished },
}

func isThereAnyway(s *stage, name string) bool {
	g, i := s.groupOf(name)
	return MemberOf(g, i).AlreadyThere || action.Installed(&s.targets[name].Status, s.rollout.Status.Plan.ContentHash)
}

func anywhere(*stage, string) bool { return true }

// isBroughtAnyway reports whether something newer brings, is bringing or has brought what the
// rollout brings.
func isBroughtAnyway(s *stage, name string) bool {
	if open := action.Open(&s.targets[name].Status); open != nil && open.ContentHash == s.rollout.Status.Plan.ContentHash || isThereAnyway(s, name) {
		return true
	}
	return slices.ContainsFunc(s.intents(name), func(in offer.Intent) bool {
		return in.Source.UID != s.rollout.UID && in.Source.Since.After(Since(s.rollout)) && in.Update.DistributionSet == s.spec().Update.DistributionSet
	})
}

// checkOffers holds the counters against the offer: they are one opinion.
func (s *stage) checkOffers() {
	s.t.Helper()
	for _, g := range s.groups {
		if g.Spec.PlanHash != s.planHash() || int(g.Spec.Index) >= len(s.rollout.Status.Groups) {
			continue
		}
		for _, name := range g.Spec.Targets {
			s.checkOffer(g, string(name))
		}
	}
}

func (s *stage) checkOffer(g *v1alpha1.DeploymentGroup, name string) {
	s.t.Helper()
	t := s.targets[name]
	if t == nil {
		return
	}
	if own := action.OfSource(&t.Status, s.rollout.UID); own != nil && !own.State.IsClosed() {
		return
	}
	code, open := s.judgement(name).Code, isOpen(s.rollout.Status.Groups[g.Spec.Index].State)
	if code == "" { // no reason against the intent, but perhaps against the target
		if o := s.offer(name); o.Reason.Code == offer.CodeNotReady {
			code = o.Reason.Code
		}
	}
	allowed := bucketsOf[code]
	if !open && slices.Contains(notOpen, code) {
		allowed = []Bucket{Scheduled}
	}
	pair := difference{s.bucket(name), code}
	if slices.Contains(allowed, pair.bucket) {
		return
	}
	if known := knownDifferences[pair]; known == nil || !known(s, name) {
		state := s.rollout.Status.Groups[g.Spec.Index].State
		s.t.Errorf("%s in group %s (%s) is counted %s, and the offer says %q: %s", name, g.Spec.Group, state, pair.bucket, code, s.judgement(name).Message)
	}
}
