// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/explain"
)

var membersPage = &page{
	pattern: "GET /rollouts/{namespace}/{name}/targets", template: "members", section: "/rollouts",
	kinds: []Kind{Targets, Rollouts, DeploymentGroups, AutoAssignments, DistributionSets},
	load:  loadMembers,
}

// membersView is the list of the targets of a rollout.
type membersView struct {
	Namespace, Name string
	Targets         []explain.MemberState
	Pager           pager
	Groups          []string
	Buckets         []bucketChoice
	// Failure says with what the targets failed, if only such are shown, and AnyFailure is the list
	// without this filter.
	Failure, AnyFailure string
}

// bucketChoice is a bucket that can be chosen.
type bucketChoice struct{ Value, Name string }

func loadMembers(r *request) (content, error) {
	namespace, name := r.path("namespace"), r.path("name")
	for _, kind := range []Kind{Targets, Rollouts, DeploymentGroups} {
		if err := r.require(kind, namespace); err != nil {
			return content{}, err
		}
	}
	object := r.index.Rollout(types.NamespacedName{Namespace: namespace, Name: name})
	if object == nil {
		return content{}, notFound(Rollouts, namespace, name)
	}
	bucket, err := r.oneOf("bucket", explain.Buckets...)
	if err != nil {
		return content{}, err
	}
	failure := action.Failure{Code: r.param("code")}
	if failure.Code == "" {
		failure.Message = r.param("message")
	}
	v := membersView{Namespace: namespace, Name: name}
	found := explain.FindMembers(r.index, object, explain.MemberQuery{Group: r.param("group"), Bucket: bucket, Failure: failure})
	if v.Pager, err = r.pager(found.Len()); err != nil {
		return content{}, err
	}
	v.Targets = found.States(max(v.Pager.From-1, 0), v.Pager.To)
	for _, b := range bucketWords {
		v.Buckets = append(v.Buckets, bucketChoice{b.bucket, b.name})
	}
	for _, g := range object.Status.Groups {
		v.Groups = append(v.Groups, g.Name)
	}
	if failure != (action.Failure{}) {
		v.Failure = failure.String()
		all := *r.url
		all.RawQuery = ""
		v.AnyFailure = withParam(&all, "bucket", "failed")
	}
	return content{Title: "Targets of rollout " + name, Data: v}, nil
}

// bucketBadge returns the badge of a bucket.
func bucketBadge(bucket string) Badge {
	tone := "calm"
	switch bucket {
	case "succeeded":
		tone = "good"
	case "failed":
		tone = "bad"
	case "inProgress":
		tone = "busy"
	case "canceled", "skipped":
		tone = "warn"
	}
	for _, b := range bucketWords {
		if b.bucket == bucket {
			bucket = b.name
			break
		}
	}
	return badgeOf(bucket, tone)
}
