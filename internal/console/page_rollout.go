// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"net/url"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

var rolloutPage = &page{
	pattern: "GET /rollouts/{namespace}/{name}", template: "rollout", section: "/rollouts",
	kinds: []Kind{Rollouts, DeploymentGroups, Targets, DistributionSets, SoftwareModules},
	load:  loadRollout,
}

// mostDecisions is the number of decisions that are shown at once; a click shows the others.
const mostDecisions = 12

// rolloutView is the page of one rollout.
type rolloutView struct {
	explain.RolloutDetails
	Object *v1alpha1.Rollout
	// Tone is the tone of the sentence on top.
	Tone   string
	Counts []bucketCount
	// Groups are those of the page, and GroupPager the way to others.
	Groups     []groupRow
	GroupPager pager
	// Recent are the newest decisions, and Earlier the others.
	Recent, Earlier []explain.Decision
	SeesTargets     bool
	// SetLink is the page of the set. Empty: it may not be shown, or does not exist.
	SetLink string
}

// bucketCount is the number of targets in a bucket.
type bucketCount struct {
	Name, Meaning, Class string
	Count                int32
	Link                 string
}

// groupRow is a group of the rollout.
type groupRow struct {
	explain.GroupDetails
	Number  int
	Buckets []bucketCount
	Failed  bucketCount
}

// bucketWords are the buckets of a rollout for people, those with a result first.
var bucketWords = []struct {
	bucket, name, meaning, class string
	count                        func(v1alpha1.Counts) int32
}{
	{"succeeded", "succeeded", "the update is installed", "succeeded", func(c v1alpha1.Counts) int32 { return c.Succeeded }},
	{"failed", "failed", "failed after all retries", "failed", func(c v1alpha1.Counts) int32 { return c.Failed }},
	{"inProgress", "in progress", "the device has started", "inprogress", func(c v1alpha1.Counts) int32 { return c.InProgress }},
	{"pending", "pending", "offered; the device has not started", "pending", func(c v1alpha1.Counts) int32 { return c.Pending }},
	{"scheduled", "scheduled", "the group has not opened", "scheduled", func(c v1alpha1.Counts) int32 { return c.Scheduled }},
	{"canceled", "canceled", "canceled, or taken over by a newer update", "canceled", func(c v1alpha1.Counts) int32 { return c.Canceled }},
	{"skipped", "skipped", "did not start in time", "skipped", func(c v1alpha1.Counts) int32 { return c.Skipped }},
	{"removed", "removed", "the target was deleted", "removed", func(c v1alpha1.Counts) int32 { return c.Removed }},
}

func loadRollout(r *request) (content, error) {
	namespace, name := r.path("namespace"), r.path("name")
	if err := r.require(Rollouts, namespace); err != nil {
		return content{}, err
	}
	object := r.index.Rollout(types.NamespacedName{Namespace: namespace, Name: name})
	if object == nil {
		return content{}, notFound(Rollouts, namespace, name)
	}
	v := &rolloutView{Object: object, SeesTargets: r.sees(Targets, namespace), RolloutDetails: explain.DetailsOf(explain.RolloutWorld{
		Index: r.index, Rollout: object, Now: r.now, Groups: r.sees(DeploymentGroups, namespace), Targets: r.sees(Targets, namespace), Sets: r.sees(DistributionSets, namespace),
		Modules: r.sees(SoftwareModules, namespace),
	})}
	v.Tone = toneOf(&v.RolloutDetails)
	v.Counts = v.bucketsOf(v.Targets, "", true)
	if v.Set != nil {
		v.SetLink = objectPath(DistributionSets, namespace, v.Set.Name)
	}
	if err := v.addGroups(r); err != nil {
		return content{}, err
	}
	shown := min(len(v.Decisions), mostDecisions)
	v.Recent, v.Earlier = v.Decisions[:shown], v.Decisions[shown:]
	return content{Title: "Rollout " + name, Data: v}, nil
}

// toneOf returns the tone of the sentence on top.
func toneOf(d *explain.RolloutDetails) string {
	switch d.Outcome {
	case explain.OutcomePausedByErrors, explain.OutcomeFailed:
		return "bad"
	case explain.OutcomeWaitsForPerson:
		return "warn"
	case explain.OutcomeFinished:
		return "good"
	case explain.OutcomeRunning:
	}
	return "busy"
}

// addGroups adds the groups of the page: without a page number, that with the first group that has
// not ended.
func (v *rolloutView) addGroups(r *request) error {
	groups := v.RolloutDetails.Groups
	current := slices.IndexFunc(groups, func(g explain.GroupDetails) bool {
		return g.State != v1alpha1.GroupFinished && g.State != v1alpha1.GroupError
	})
	pager, err := r.pagerAt(len(groups), max(current, 0)/rowsPerPage+1)
	if err != nil || pager.Total == 0 {
		return err
	}
	v.GroupPager = pager
	for i, g := range groups[pager.From-1 : pager.To] {
		row := groupRow{GroupDetails: g, Number: pager.From + i, Buckets: v.bucketsOf(g.Targets, g.Name, false)}
		row.Failed = bucketCount{Count: g.Targets.Failed, Link: v.membersLink("failed", g.Name)}
		v.Groups = append(v.Groups, row)
	}
	return nil
}

// bucketsOf returns the counts for people: those that are not 0 and, with all, also the usual ones.
func (v *rolloutView) bucketsOf(c v1alpha1.Counts, group string, all bool) []bucketCount {
	var counts []bucketCount
	for i, b := range bucketWords {
		if n := b.count(c); n > 0 || all && i < 5 {
			counts = append(counts, bucketCount{b.name, b.meaning, b.class, n, v.membersLink(b.bucket, group)})
		}
	}
	return counts
}

// membersLink returns the list of the targets of the rollout in a bucket and a group.
func (v *rolloutView) membersLink(bucket, group string) string {
	q := url.Values{"bucket": {bucket}}
	if group != "" {
		q.Set("group", group)
	}
	return objectPath(Rollouts, v.Namespace, v.Name) + "/targets?" + q.Encode()
}

// AllTargets returns the list of all targets of the rollout.
func (v *rolloutView) AllTargets() string {
	return objectPath(Rollouts, v.Namespace, v.Name) + "/targets"
}

// FailureLink returns the list of the targets that failed in the same way.
func (v *rolloutView) FailureLink(f explain.FailureDetails) string {
	q := url.Values{"bucket": {"failed"}}
	if f.StatusCode != "" {
		q.Set("code", f.StatusCode)
	} else if f.Message != "" {
		q.Set("message", f.Message)
	}
	return objectPath(Rollouts, v.Namespace, v.Name) + "/targets?" + q.Encode()
}

// Percent returns how much of the existing targets has succeeded.
func (v *rolloutView) Percent() int {
	existing := int(v.Targets.Existing())
	if existing == 0 {
		return 0
	}
	return 100 * int(v.Targets.Succeeded) / existing
}

// WaitsFor returns the sentence on top, which starts with an upper case letter.
func (v *rolloutView) WaitsFor() string {
	sentence := v.Message
	if sentence == "" {
		return "It waits for nothing."
	}
	first, size := utf8.DecodeRuneInString(sentence)
	return string(unicode.ToUpper(first)) + sentence[size:]
}

// Rule says in words what the conditions of a group require.
func (g groupRow) Rule() string { return explain.ConditionsText(&g.Conditions) }

// groupBadge returns the badge of the state of a group.
func groupBadge(state v1alpha1.GroupState) Badge {
	switch state {
	case v1alpha1.GroupRunning:
		return badgeOf(state, "busy")
	case v1alpha1.GroupFinished:
		return badgeOf(state, "good")
	case v1alpha1.GroupError:
		return badgeOf(state, "bad")
	default:
		return badgeOf(state, "calm")
	}
}

// IsWaiting reports whether the rollout waits for something else than its devices.
func (v *rolloutView) IsWaiting() bool {
	return v.Message != "" && v.Reason != v1alpha1.ReasonProgressing && !v.Since.IsZero()
}

// IsPaused reports whether Since is the time of a pause.
func (v *rolloutView) IsPaused() bool { return v.Object.Status.PausedAt != nil }

// Took returns how long the rollout ran. Empty: it never started.
func (v *rolloutView) Took() string {
	if v.StartedAt == nil || v.FinishedAt == nil {
		return ""
	}
	return explain.Duration(v.Elapsed(v.FinishedAt.Time))
}

// WindowLength returns how long the maintenance window is open.
func (v *rolloutView) WindowLength() string {
	return explain.Duration(time.Duration(v.Spec.Update.MaintenanceWindow.DurationSeconds) * time.Second)
}
