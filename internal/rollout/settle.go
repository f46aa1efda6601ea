package rollout

import (
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// Git applies manifests in any order, so a plan waits until matching membership has been quiet. It is when nothing has changed that selects targets, and also when
// the plan would have stayed the same meanwhile, whatever devices report of themselves.

// patience is how much longer than settleSeconds membership is waited for that is never quiet: one device that comes and goes does not keep an update from all.
const patience = 10 * time.Minute

// isSettled tells whether membership has been quiet long enough, or will never be.
func (l *look) isSettled(population []*v1alpha1.Target) bool {
	selected, since, err := Select(l.Rollout, l.Set, population)
	if err != nil && !isNoTargets(err) || l.isQuiet(since) {
		return true
	}
	s := l.keepSettling(l.fingerprint(selected, err))
	last := s.Began.Add(patience + l.settle())
	if l.isQuiet(s.Since.Time) || !l.Now.Before(last) {
		return true
	}
	end := earliest(since.Add(l.settle()), s.Since.Add(l.settle()), last)
	l.takingOver = v1alpha1.ReasonSettling
	l.wait(v1alpha1.ReasonSettling, end, "%s selected so far; the plan is made when membership has been quiet for %s", targets(len(selected)), counted(int(l.settle().Seconds()), "second"))
	return false
}

func (l *look) isQuiet(since time.Time) bool { return !l.Now.Before(since.Add(l.settle())) }

// settle is how long membership must have been quiet.
func (l *look) settle() time.Duration {
	if l.spec.SettleSeconds == nil {
		return 5 * time.Second
	}
	return time.Duration(*l.spec.SettleSeconds) * time.Second
}

// fingerprint of the plan that would be made of these targets, or of what keeps it from being made.
func (l *look) fingerprint(selected []*v1alpha1.Target, problem error) string {
	if problem == nil {
		planned, err := Partition(l.Rollout, selected)
		if err == nil {
			return PlanHash(l.Set.ContentHash, specHash(l.Rollout), planned)
		}
		problem = err
	}
	return PlanHash(problem.Error(), specHash(l.Rollout), nil)
}

// keepSettling remembers since when the plan would be this one, and when the present disquiet began: one that follows a time of quiet is another.
func (l *look) keepSettling(plan string) *v1alpha1.Settling {
	s := l.status.Settling
	switch now := *micro(l.Now); {
	case s == nil:
		s = &v1alpha1.Settling{Plan: plan, Since: now, Began: now}
	case s.Plan == plan:
	case l.isQuiet(s.Since.Time):
		s = &v1alpha1.Settling{Plan: plan, Since: now, Began: now}
	default:
		s = &v1alpha1.Settling{Plan: plan, Since: now, Began: s.Began}
	}
	l.status.Settling = s
	return s
}

func earliest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
