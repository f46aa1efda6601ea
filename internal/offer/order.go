// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package offer

import (
	"cmp"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
)

// The order of the intents that reach a target.

// byTurn compares two intents: required migration steps come first, the oldest of them before the
// others, then queued updates by weight and age. The others compare as equal.
func byTurn(a, b *eligibility.Intent, cover *eligibility.Intent) int {
	rank := rankOf(a, cover)
	if c := cmp.Compare(rank, rankOf(b, cover)); c != 0 {
		return c
	}
	older := since(&a.Source).Compare(since(&b.Source))
	switch rank {
	case rankStep:
		return older
	case rankQueued:
		return cmp.Or(cmp.Compare(b.Update.EffectiveWeight(), a.Update.EffectiveWeight()), older)
	}
	return 0
}

const (
	rankStep = iota
	rankQueued
	rankOther
)

// rankOf returns the rank of an intent. Cover, the newest intent that replaces older ones, ranks
// like the queued updates, which are offered beside it.
func rankOf(in, cover *eligibility.Intent) int {
	switch {
	case eligibility.IsMigrationStep(in):
		return rankStep
	case in.Update.IsQueued(), in == cover:
		return rankQueued
	}
	return rankOther
}

// holdBehindSteps lets newer intents wait for a required migration step that has reached the target
// and is not done.
func holdBehindSteps(list []judged) {
	for i := range list {
		step := list[i]
		if !eligibility.IsMigrationStep(step.in) {
			return
		}
		if step.in.OpenedAt.IsZero() && step.in.Source.Kind == v1alpha1.SourceRollout || step.IsFinal() || step.Code == eligibility.CodeIncompatible {
			continue
		}
		for k := i + 1; k < len(list); k++ {
			if v := &list[k]; v.mayStart() && since(&v.in.Source).After(since(&step.in.Source)) {
				v.Code, v.Other = eligibility.CodeWaitingForStep, step.in
			}
		}
	}
}
